//! NockVault.
