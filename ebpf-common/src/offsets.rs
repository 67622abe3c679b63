//! Byte offsets of kernel structure members.
