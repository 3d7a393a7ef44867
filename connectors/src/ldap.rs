//! Changes entries of a directory over LDAP.
