"""What people say of objects, what is learnt from it, and which objects are alike."""
