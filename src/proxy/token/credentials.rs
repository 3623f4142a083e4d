//! Whom we are at an instance: client id and secret, read again when they change, the old ones kept until new ones work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::file::Stamp;
use crate::base::same::both_or_neither;
use crate::base::secret::Secret;
use crate::base::secret::source::{SecretSource, SourceError};
use crate::observe::logging::ErrorChain;

/// An id and its secret.
#[derive(Debug)]
pub struct CredentialPair {
    /// The id of the API client app.
    pub id: Secret,
    /// Its secret; apps of the platform Native have none.
    pub secret: Option<Secret>,
}

/// The credentials of one instance.
#[derive(Debug)]
pub struct Credentials {
    id: SecretSource,
    secret: Option<SecretSource>,
    held: Mutex<HeldCredentials>,
}

#[derive(Debug)]
struct HeldCredentials {
    /// The pair that was accepted last, or the first one.
    proven: Arc<CredentialPair>,
    /// A newer pair that was not accepted yet.
    candidate: Option<Arc<CredentialPair>>,
    stamps: [Option<Stamp>; 2],
    /// Counts the pairs that were read.
    version: u64,
    /// What was logged about a source that cannot be read, so that it is logged once.
    trouble: Option<String>,
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The id cannot be read.
    #[error("the client id is missing")]
    Id(#[source] SourceError),
    /// The secret cannot be read.
    #[error("the client secret is missing")]
    Secret(#[source] SourceError),
}

impl Credentials {
    /// Reads both. Blocks.
    pub fn read(id: SecretSource, secret: SecretSource) -> Result<Self, CredentialsError> {
        Self::read_both(id, Some(secret))
    }

    /// Reads those of an app that may have no secret: one of the platform Native. Blocks.
    pub fn read_both(id: SecretSource, secret: Option<SecretSource>) -> Result<Self, CredentialsError> {
        let stamps = stamps(&id, secret.as_ref());
        let held = HeldCredentials::first(read(&id, secret.as_ref())?, stamps);
        Ok(Self { id, secret, held: Mutex::new(held) })
    }

    /// These, which never change.
    pub fn given(id: Secret, secret: Secret) -> Self {
        let pair = CredentialPair { id: id.clone(), secret: Some(secret.clone()) };
        let held = HeldCredentials::first(pair, [None; 2]);
        let [id, secret] = [id, secret].map(SecretSource::Given);
        Self { id, secret: Some(secret), held: Mutex::new(held) }
    }

    /// The id that is in use.
    pub fn id(&self) -> String {
        self.held().proven.id.expose().to_string()
    }

    /// Where id and secret come from.
    pub fn sources(&self) -> impl Iterator<Item = &SecretSource> {
        [Some(&self.id), self.secret.as_ref()].into_iter().flatten()
    }

    /// Counts up with each new pair.
    pub fn version(&self) -> u64 {
        self.held().version
    }

    /// The pairs to try, newest first.
    pub fn pairs(&self) -> Vec<Arc<CredentialPair>> {
        let held = self.held();
        held.candidate.iter().chain([&held.proven]).map(Arc::clone).collect()
    }

    /// The newest pair, and whether it is the only one.
    pub(super) fn newest(&self) -> (Arc<CredentialPair>, bool) {
        let held = self.held();
        (Arc::clone(held.candidate.as_ref().unwrap_or(&held.proven)), held.candidate.is_none())
    }

    /// Reads again what has changed, and what a command prints if `anew`. Blocks.
    pub fn look(&self, anew: bool) {
        let stamps = stamps(&self.id, self.secret.as_ref());
        let runs = anew && self.sources().any(SecretSource::is_command);
        if !runs && self.held().stamps == stamps {
            return;
        }
        let found = read(&self.id, self.secret.as_ref());
        let mut held = self.held();
        match found {
            Ok(pair) => held.found(Arc::new(pair), stamps),
            Err(error) => held.missed(&error),
        }
    }

    /// Takes over what `read` has just read from the same sources.
    pub fn renew(&self, read: &Self) {
        let (pair, stamps) = {
            let held = read.held();
            (Arc::clone(&held.proven), held.stamps)
        };
        self.held().found(pair, stamps);
    }

    /// Whether both are read from the same places.
    pub fn is_from_same(&self, other: &Self) -> bool {
        self.id.is_same(&other.id)
            && both_or_neither(self.secret.as_ref(), other.secret.as_ref(), SecretSource::is_same)
    }

    /// Whether a grant for these is one for `other` too: the same pair, and no other to be tried.
    pub fn is_same(&self, other: &Self) -> bool {
        let (own, other) = (self.pairs(), other.pairs());
        matches!((own.as_slice(), other.as_slice()), ([own], [other]) if own.is_same(other))
    }

    /// A token was granted for this pair: an older one is not needed any more.
    pub fn accepted(&self, pair: &Arc<CredentialPair>) {
        let mut held = self.held();
        if held.candidate.as_ref().is_some_and(|candidate| Arc::ptr_eq(candidate, pair)) {
            held.candidate = None;
            held.proven = Arc::clone(pair);
            tracing::info!("the new client id or secret is accepted; the old one is dropped");
        } else if held.candidate.is_some() && Arc::ptr_eq(&held.proven, pair) {
            tracing::error!("the new client id or secret is refused, the old one still accepted: look at the new one");
        }
    }

    fn held(&self) -> MutexGuard<'_, HeldCredentials> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldCredentials {
    fn first(pair: CredentialPair, stamps: [Option<Stamp>; 2]) -> Self {
        Self { proven: Arc::new(pair), candidate: None, stamps, version: 0, trouble: None }
    }

    fn found(&mut self, pair: Arc<CredentialPair>, stamps: [Option<Stamp>; 2]) {
        (self.stamps, self.trouble) = (stamps, None);
        if self.candidate.as_ref().unwrap_or(&self.proven).is_same(&pair) {
            return;
        }
        // Back to what works already.
        self.candidate = (!self.proven.is_same(&pair)).then_some(pair);
        self.version += 1;
        tracing::info!("the client id or secret has changed");
    }

    /// The stamps stay as they are, so that it is read again at the next look.
    fn missed(&mut self, error: &CredentialsError) {
        let trouble = ErrorChain(error).to_string();
        if self.trouble.as_ref() != Some(&trouble) {
            tracing::warn!(
                error = trouble,
                "the client id or secret cannot be read again; the one before stays in use"
            );
            self.trouble = Some(trouble);
        }
    }
}

impl CredentialPair {
    fn is_same(&self, other: &Self) -> bool {
        self.id.is_same(&other.id) && both_or_neither(self.secret.as_ref(), other.secret.as_ref(), Secret::is_same)
    }
}

fn stamps(id: &SecretSource, secret: Option<&SecretSource>) -> [Option<Stamp>; 2] {
    [id.stamp(), secret.and_then(SecretSource::stamp)]
}

fn read(id: &SecretSource, secret: Option<&SecretSource>) -> Result<CredentialPair, CredentialsError> {
    let id = id.read().map_err(CredentialsError::Id)?;
    let secret = secret.map(SecretSource::read).transpose().map_err(CredentialsError::Secret)?;
    Ok(CredentialPair { id, secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        folder: tempfile::TempDir,
        credentials: Credentials,
    }

    impl Place {
        fn new(secret: &str) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("secret");
            std::fs::write(&path, secret).expect("a file");
            let id = SecretSource::Given(Secret::new("id".to_owned()));
            let credentials = Credentials::read(id, SecretSource::File(path)).expect("credentials");
            Self { folder, credentials }
        }

        fn replace(&self, secret: &str) {
            let next = self.folder.path().join("next");
            std::fs::write(&next, secret).expect("a file");
            std::fs::rename(next, self.folder.path().join("secret")).expect("a replaced file");
        }

        fn look(&self, anew: bool) -> (u64, Vec<String>) {
            self.credentials.look(anew);
            (self.credentials.version(), self.secrets())
        }

        fn secrets(&self) -> Vec<String> {
            self.credentials
                .pairs()
                .iter()
                .map(|pair| pair.secret.as_ref().expect("a secret").expose().to_string())
                .collect()
        }
    }

    #[test]
    fn credentials_take_over_what_a_reload_read_as_a_pair_to_be_tried() {
        let place = Place::new("one");
        let source = || SecretSource::File(place.folder.path().join("secret"));
        let read =
            || Credentials::read(SecretSource::Given(Secret::new("id".to_owned())), source()).expect("credentials");
        let same = read();
        assert!(place.credentials.is_from_same(&same) && place.credentials.is_same(&same));
        place.credentials.renew(&same);
        assert_eq!(place.credentials.version(), 0, "nothing new");
        place.replace("two");
        let other = read();
        assert!(place.credentials.is_from_same(&other) && !place.credentials.is_same(&other));
        place.credentials.renew(&other);
        assert_eq!((place.credentials.version(), place.credentials.pairs().len()), (1, 2));
        assert!(!place.credentials.is_same(&other), "not before it is accepted");
        place.credentials.accepted(&place.credentials.pairs()[0]);
        assert!(place.credentials.is_same(&other));
        let elsewhere = Credentials::read(
            SecretSource::Given(Secret::new("id".to_owned())),
            SecretSource::Given(Secret::new("two".to_owned())),
        );
        let elsewhere = elsewhere.expect("credentials");
        assert!(!place.credentials.is_from_same(&elsewhere) && place.credentials.is_same(&elsewhere));
    }

    #[test]
    fn credentials_keep_the_old_secret_until_the_new_one_is_accepted() {
        let place = Place::new("old");
        assert_eq!(place.look(false), (0, vec!["old".to_owned()]));
        place.replace("new\n");
        assert_eq!(place.look(false), (1, vec!["new".to_owned(), "old".to_owned()]));
        let pairs = place.credentials.pairs();
        place.credentials.accepted(&pairs[1]);
        assert_eq!(place.secrets().len(), 2, "the new one may become good");
        place.credentials.accepted(&pairs[0]);
        assert_eq!(place.look(true), (1, vec!["new".to_owned()]));
    }

    #[test]
    fn credentials_survive_a_file_that_is_missing_empty_or_written_back() {
        let place = Place::new("old");
        std::fs::remove_file(place.folder.path().join("secret")).expect("no file");
        assert_eq!(place.look(false), (0, vec!["old".to_owned()]));
        place.replace("");
        assert_eq!(place.look(false), (0, vec!["old".to_owned()]));
        place.replace("old");
        assert_eq!(place.look(false), (0, vec!["old".to_owned()]));
        place.replace("wrong");
        assert_eq!(place.look(false).0, 1);
        place.replace("old");
        assert_eq!(place.look(false), (2, vec!["old".to_owned()]));
    }

    #[cfg(unix)]
    #[test]
    fn credentials_run_a_command_again_only_when_asked_to_look_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, "old").expect("a file");
        let command = SecretSource::Command(vec!["cat".to_owned(), path.display().to_string()]);
        let credentials =
            Credentials::read(SecretSource::Given(Secret::new("id".to_owned())), command).expect("credentials");
        std::fs::write(&path, "new").expect("a file");
        credentials.look(false);
        assert_eq!(credentials.version(), 0);
        credentials.look(true);
        assert_eq!(credentials.version(), 1);
    }
}
