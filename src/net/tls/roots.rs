//! The roots that this system trusts: those of `SSL_CERT_FILE` and `SSL_CERT_DIR` where they are set, or else its own.
//! What is set and cannot be read is an error: to trust something else in silence would open what somebody closed.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};

const FILE: &str = "SSL_CERT_FILE";
const FOLDER: &str = "SSL_CERT_DIR";
/// As many complaints are told of one source.
const MAX_COMPLAINTS: usize = 5;

/// Why no roots are trusted.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// A variable leads nowhere.
    #[error(
        "{variable} is set to {path:?}, {problem}: set it to {wanted}, or unset it to trust the roots of this system"
    )]
    Variable {
        /// Its name.
        variable: &'static str,
        /// Its value, or the part of it that is wrong.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What it must name.
        wanted: &'static str,
    },
    /// The system has none.
    #[error(
        "this system has no trusted root certificates{0}: install them (the package ca-certificates), or give the CA of the server as ca-file"
    )]
    None(String),
}

/// The certificates of roots, and what could not be read.
#[derive(Debug, Default)]
pub(super) struct Roots {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) complaints: Vec<String>,
    /// Where they are from, for people.
    pub(super) origin: &'static str,
}

/// Reads them. `variable` reads the environment; an empty variable is taken as not set.
pub(super) fn load(variable: impl Fn(&str) -> Option<OsString>) -> Result<Roots, RootsError> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let (file, folders) = (set(FILE).map(PathBuf::from), set(FOLDER));
    let folders: Vec<PathBuf> =
        folders.iter().flat_map(env::split_paths).filter(|path| !path.as_os_str().is_empty()).collect();
    if file.is_none() && folders.is_empty() {
        return Ok(Roots { origin: "this system", ..Roots::of([system()]) });
    }
    let from_file = file.as_deref().map(of_file).transpose()?;
    let from_folders = folders.iter().map(|folder| of_folder(folder)).collect::<Result<Vec<_>, _>>()?;
    let origin = match (&from_file, from_folders.is_empty()) {
        (Some(_), true) => FILE,
        (Some(_), false) => "SSL_CERT_FILE and SSL_CERT_DIR",
        (None, _) => FOLDER,
    };
    let roots = Roots { origin, ..Roots::of(from_file.into_iter().chain(from_folders)) };
    if roots.certificates.is_empty() {
        let path = folders.into_iter().next().unwrap_or_default();
        return Err(no_folder(&path, "which holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// The certificates of the roots that are trusted in this environment, each once; none where the system has none.
pub fn certificates(variable: impl Fn(&str) -> Option<OsString>) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let mut certificates = load(variable)?.certificates;
    certificates.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
    certificates.dedup();
    Ok(certificates)
}

/// Those of a folder.
pub fn certificates_in(folder: &Path) -> Vec<CertificateDer<'static>> {
    load_certs_from_paths(None, Some(folder)).certs
}

impl Roots {
    fn of(results: impl IntoIterator<Item = CertificateResult>) -> Self {
        let mut roots = Self::default();
        for CertificateResult { certs, errors, .. } in results {
            roots.certificates.extend(certs);
            roots.complaints.extend(errors.iter().take(MAX_COMPLAINTS).map(ToString::to_string));
        }
        roots
    }

    /// These, or the reason why there are none.
    pub(super) fn some(self) -> Result<Self, RootsError> {
        match self.certificates.is_empty() {
            true => {
                Err(RootsError::None(self.complaints.first().map_or_else(String::new, |told| format!(" ({told})"))))
            }
            false => Ok(self),
        }
    }
}

fn of_file(path: &Path) -> Result<CertificateResult, RootsError> {
    let wanted = "a file of certificates in PEM form";
    let bad = |problem| RootsError::Variable { variable: FILE, path: path.to_owned(), problem, wanted };
    let found = std::fs::metadata(path).map_err(|error| bad(format!("which cannot be read ({error})")))?;
    if found.is_dir() {
        return Err(bad(format!("which is a folder ({FOLDER} is for folders)")));
    }
    if !found.is_file() {
        return Err(bad("which is not a regular file".to_owned()));
    }
    let read = load_certs_from_paths(Some(path), None);
    if read.certs.is_empty() {
        let why = read.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(bad(format!("which holds no certificate{why}")));
    }
    Ok(read)
}

fn of_folder(path: &Path) -> Result<CertificateResult, RootsError> {
    match std::fs::read_dir(path) {
        Ok(_) => Ok(load_certs_from_paths(None, Some(path))),
        Err(error) => Err(no_folder(path, format!("which cannot be read as a folder ({error})"))),
    }
}

fn no_folder(path: &Path, problem: String) -> RootsError {
    let wanted = "folders of certificates in PEM form";
    RootsError::Variable { variable: FOLDER, path: path.to_owned(), problem, wanted }
}

/// The system's own, whatever variables say.
fn system() -> CertificateResult {
    #[cfg(unix)]
    // It would take a variable that is set and empty for the name of a file.
    if env::var_os(FILE).is_some_and(|value| value.is_empty()) {
        let places = openssl_probe::probe();
        let folder = places.cert_dir.first().filter(|_| places.cert_file.is_none());
        return load_certs_from_paths(places.cert_file.as_deref(), folder.map(PathBuf::as_path));
    }
    load_native_certs()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a CA, a file without one, and an empty folder.
    fn place() -> tempfile::TempDir {
        let place = tempfile::tempdir().expect("a folder");
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters = rcgen::CertificateParams::new(vec!["x.example".to_owned()]).expect("parameters");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        std::fs::create_dir(place.path().join("good")).expect("a folder");
        std::fs::create_dir(place.path().join("empty")).expect("a folder");
        std::fs::write(place.path().join("good/ca.pem"), certificate.pem()).expect("a file");
        std::fs::write(place.path().join("good/notes.txt"), "no certificate").expect("a file");
        std::fs::write(place.path().join("key.pem"), key.serialize_pem()).expect("a file");
        std::fs::write(place.path().join("none"), "").expect("a file");
        place
    }

    /// How many roots, or what is said.
    fn loaded(place: &tempfile::TempDir, file: Option<&str>, folders: Option<&[&str]>) -> Result<usize, String> {
        let path = |name: &&str| if name.is_empty() { PathBuf::new() } else { place.path().join(name) };
        let variable = |name: &str| match name {
            FILE => file.map(|name| path(&name).into_os_string()),
            FOLDER => folders.map(|names| env::join_paths(names.iter().map(path)).expect("paths")),
            other => panic!("{other} is read"),
        };
        load(variable).map(|roots| roots.certificates.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn roots_of_variables_are_trusted_alone() {
        let place = place();
        assert_eq!(loaded(&place, Some("good/ca.pem"), None), Ok(1));
        assert_eq!(loaded(&place, None, Some(&["good"])), Ok(1));
        assert_eq!(loaded(&place, None, Some(&["empty", "good"])), Ok(1));
        assert_eq!(loaded(&place, Some("good/ca.pem"), Some(&["empty"])), Ok(1));
    }

    #[test]
    fn roots_of_a_variable_that_leads_nowhere_are_an_error_that_names_it() {
        let place = place();
        for (file, folders, name, problem) in [
            (Some("missing"), None, FILE, "cannot be read"),
            (Some("good"), None, FILE, "is a folder (SSL_CERT_DIR is for folders)"),
            (Some("none"), None, FILE, "holds no certificate"),
            (Some("key.pem"), None, FILE, "holds no certificate"),
            (Some("missing"), Some(&["good"][..]), FILE, "cannot be read"),
            (None, Some(&["missing"]), FOLDER, "cannot be read as a folder"),
            (None, Some(&["good/ca.pem"]), FOLDER, "cannot be read as a folder"),
            (None, Some(&["good", "missing"]), FOLDER, "cannot be read as a folder"),
            (None, Some(&["empty"]), FOLDER, "holds no certificate"),
        ] {
            let told = loaded(&place, file, folders).expect_err("an error");
            assert!(told.starts_with(&format!("{name} is set to ")) && told.contains(problem), "{file:?}: {told}");
            assert!(told.contains("or unset it"), "{told}");
        }
    }

    #[test]
    fn roots_of_an_empty_variable_are_those_of_the_system() {
        let place = place();
        let system = loaded(&place, None, None);
        for (file, folders) in [(Some(""), None), (None, Some(&[][..])), (Some(""), Some(&[][..]))] {
            assert_eq!(loaded(&place, file, folders), system);
        }
    }

    #[test]
    fn roots_that_are_none_say_what_to_install() {
        let told = Roots::default().some().expect_err("none").to_string();
        assert!(told.contains("has no trusted root certificates: install them"), "{told}");
    }
}
