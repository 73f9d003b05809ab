//! Files in memory that fail, tear and forget at any step, for tests.
