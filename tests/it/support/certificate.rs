//! Certificates of a test's own, by OpenSSL.
//!
//! Invariant: every authority is made anew; nothing that it signed is of use elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use super::program::{command, find, run};

/// Extensions of an authority, of a service and of a client.
const EXTENSIONS: &str = "
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign
[service]
basicConstraints = critical,CA:false
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost,IP:127.0.0.1
[client]
basicConstraints = critical,CA:false
extendedKeyUsage = clientAuth
";

/// A certificate authority.
pub(crate) struct Authority {
    folder: PathBuf,
    name: String,
}

/// A certificate and its key, PEM.
pub(crate) struct Issued {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        fs::write(folder.join("openssl.cnf"), EXTENSIONS).unwrap();
        let authority = Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
        };
        authority.make(name, "authority", 30, false);
        authority
    }

    /// Its own certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join(format!("{}.pem", self.name))
    }

    pub(crate) fn pem(&self) -> Vec<u8> {
        fs::read(self.certificate()).unwrap()
    }

    /// A certificate for localhost and 127.0.0.1.
    pub(crate) fn service(&self, name: &str, days: u32) -> Issued {
        self.make(name, "service", days, true)
    }

    /// A certificate that a client may show.
    pub(crate) fn client(&self, name: &str) -> Issued {
        self.make(name, "client", 30, true)
    }

    fn make(&self, name: &str, extensions: &str, days: u32, signed: bool) -> Issued {
        let issued = Issued {
            certificate: self.folder.join(format!("{name}.pem")),
            key: self.folder.join(format!("{name}.key")),
        };
        let mut openssl = command(find("openssl", "openssl"));
        openssl
            .args([
                "req",
                "-x509",
                "-config",
                "openssl.cnf",
                "-nodes",
                "-newkey",
                "ec",
            ])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-extensions", extensions, "-days", &days.to_string()])
            .args(["-subj", &format!("/CN={name}")])
            .arg("-keyout")
            .arg(&issued.key)
            .arg("-out")
            .arg(&issued.certificate)
            .current_dir(&self.folder);
        if signed {
            let key = self.folder.join(format!("{}.key", self.name));
            openssl.arg("-CA").arg(self.certificate());
            openssl.arg("-CAkey").arg(key);
        }
        run(&mut openssl);
        issued
    }
}
