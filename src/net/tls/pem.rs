//! PEM files: certificates and keys, in each encoding that editors write, and what else people take for one.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::base::file::{self, UnreadableFile};

/// The largest file: bundles of all public CAs have less than 1 MiB.
const MAX_FILE: u64 = 16 << 20;

/// Why a file gives no certificate, or no key.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It is not there, or not to be read.
    #[error("the file {} cannot be read: {cause}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// It is something else.
    #[error("the file {} is not a PEM file: {is}", path.display())]
    NotPem {
        /// Which file.
        path: PathBuf,
        /// What it is, and what to do.
        is: &'static str,
    },
    /// A block is damaged.
    #[error("the file {} has a damaged PEM block: {cause}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What the parser says.
        cause: pem::Error,
    },
    /// It has no certificate.
    #[error("the file {} holds no certificate (a block that begins with -----BEGIN CERTIFICATE-----){}", path.display(), hint)]
    NoCertificate {
        /// Which file.
        path: PathBuf,
        /// What is in it instead.
        hint: &'static str,
    },
    /// It has no key.
    #[error("the file {} holds no private key (a block such as -----BEGIN PRIVATE KEY-----){}", path.display(), hint)]
    NoKey {
        /// Which file.
        path: PathBuf,
        /// What is in it instead.
        hint: &'static str,
    },
    /// Its key needs a passphrase.
    #[error(
        "the private key in {} is encrypted, and the proxy cannot ask for the passphrase: decrypt it with \"openssl pkey -in {} -out NEW-FILE\", and keep that file with mode 0600", path.display(), path.display()
    )]
    Encrypted {
        /// Which file.
        path: PathBuf,
    },
}

/// The certificates in the file, at least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let text = read(path)?;
    let damaged = |cause| PemError::Damaged { path: path.to_owned(), cause };
    let found = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(damaged)?;
    if found.is_empty() {
        let hint = if text.contains("PRIVATE KEY-----") {
            ": it holds a private key"
        } else if text.contains("-----BEGIN TRUSTED CERTIFICATE-----") {
            ": it holds OpenSSL's own form; convert it with \"openssl x509 -in FILE -out NEW-FILE\""
        } else {
            ""
        };
        return Err(PemError::NoCertificate { path: path.to_owned(), hint });
    }
    Ok(found)
}

/// A certificate as a block of PEM (RFC 7468).
pub fn block(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

/// The first private key in the file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let text = read(path)?;
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(PemError::Encrypted { path: path.to_owned() });
    }
    match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            let hint = if text.contains("-----BEGIN OPENSSH PRIVATE KEY-----") {
                ": it holds a key of OpenSSH; make one with openssl"
            } else if text.contains("-----BEGIN CERTIFICATE-----") {
                ": it holds a certificate"
            } else if text.contains("PUBLIC KEY-----") {
                ": it holds a public key"
            } else {
                ""
            };
            Err(PemError::NoKey { path: path.to_owned(), hint })
        }
        Err(cause) => Err(PemError::Damaged { path: path.to_owned(), cause }),
    }
}

/// May be a key.
fn read(path: &Path) -> Result<Zeroizing<String>, PemError> {
    let unreadable = |cause| PemError::Unreadable { path: path.to_owned(), cause };
    let bytes = file::read(path, MAX_FILE).map(Zeroizing::new).map_err(unreadable)?;
    if bytes.first() == Some(&0x30) && bytes.get(1).is_some_and(|length| *length >= 0x80) {
        let is = "it holds DER or PKCS#12; convert it with \"openssl x509 -inform DER\", \"openssl pkey -inform DER\" or \"openssl pkcs12 -nodes\"";
        return Err(PemError::NotPem { path: path.to_owned(), is });
    }
    let text = match file::text(&bytes) {
        Ok(text) => Zeroizing::new(text.into_owned()),
        Err(UnreadableFile::BrokenUtf16) => return Err(unreadable(UnreadableFile::BrokenUtf16.into())),
        // What is around the blocks may be in any encoding.
        Err(_) => Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()),
    };
    // Files that were joined have the marks of each.
    Ok(if text.contains('\u{feff}') { Zeroizing::new(text.replace('\u{feff}', "")) } else { text })
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;

    use super::*;

    fn at(folder: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
        let path = folder.path().join("file.pem");
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    fn variants(text: &str) -> Vec<Vec<u8>> {
        let wide = |unit: fn(u16) -> [u8; 2], mark: [u8; 2]| -> Vec<u8> {
            mark.into_iter().chain(text.encode_utf16().flat_map(unit)).collect()
        };
        vec![
            text.as_bytes().to_vec(),
            format!("\u{feff}{text}").into_bytes(),
            text.replace('\n', "\r\n").into_bytes(),
            format!("\u{feff}{}", text.replace('\n', "\r\n")).into_bytes(),
            wide(u16::to_le_bytes, [0xff, 0xfe]),
            wide(u16::to_be_bytes, [0xfe, 0xff]),
            [b"issuer: M\xfcller\n", text.as_bytes()].concat(),
            text.replace("-----BEGIN", "\u{feff}-----BEGIN").into_bytes(),
        ]
    }

    #[test]
    fn pem_is_read_in_each_encoding_to_the_last_block() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let certificate = |name: &str| {
            let parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters");
            parameters.self_signed(&key).expect("a certificate")
        };
        let (one, two) = (certificate("one.example"), certificate("two.example"));
        for bytes in variants(&format!("{}{}", one.pem(), two.pem())) {
            let found = certificates(&at(&folder, &bytes)).expect("certificates");
            assert_eq!(found, [one.der().clone(), two.der().clone()], "{:?}", bytes.get(..12));
        }
        for bytes in variants(&key.serialize_pem()) {
            let found = private_key(&at(&folder, &bytes)).expect("a key");
            assert_eq!(found.secret_der(), key.serialized_der(), "{:?}", bytes.get(..12));
        }
    }

    #[test]
    fn pem_error_says_what_the_file_is_and_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let block = |name: &str| format!("-----BEGIN {name}-----\nMTIz\n-----END {name}-----\n");
        let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMTIz\n-----END RSA PRIVATE KEY-----\n";
        for (text, key, said) in [
            (block("ENCRYPTED PRIVATE KEY"), true, "openssl pkey -in "),
            (legacy.to_owned(), true, "is encrypted"),
            (block("OPENSSH PRIVATE KEY"), true, "a key of OpenSSH"),
            (block("CERTIFICATE"), true, "it holds a certificate"),
            (block("PUBLIC KEY"), true, "it holds a public key"),
            (block("PRIVATE KEY"), false, "it holds a private key"),
            (block("TRUSTED CERTIFICATE"), false, "openssl x509 -in FILE"),
            ("x".to_owned(), false, "holds no certificate (a block"),
            (String::new(), true, "holds no private key (a block"),
            ("-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n".to_owned(), false, "damaged PEM block"),
        ] {
            let path = at(&folder, text.as_bytes());
            let error = if key { private_key(&path).map(drop) } else { certificates(&path).map(drop) };
            let error = error.expect_err(&text).to_string();
            assert!(error.contains(said) && error.contains("file.pem"), "{error}");
        }
        let error = certificates(&at(&folder, b"\x30\x82\x01\x02rest")).expect_err("DER").to_string();
        assert!(error.contains("DER or PKCS#12"), "{error}");
        assert!(
            private_key(&folder.path().join("none")).is_err_and(|error| error.to_string().contains("cannot be read"))
        );
    }
}
