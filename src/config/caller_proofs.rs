//! Proofs of callers: each is of one caller alone, as the first one would be taken for all who have it.

use std::collections::BTreeMap;

use toml::Spanned;

use super::Config;
use super::mistake::ConfigMistake;
use super::sections::CallerSection;

impl Config {
    /// Whether two callers of this listener have the same key, certificate, user or group.
    pub(super) fn check_proofs(
        &self,
        listener: &str,
        callers: &BTreeMap<String, Spanned<CallerSection>>,
    ) -> Result<(), ConfigMistake> {
        if callers.len() > usize::from(u16::MAX) {
            let message = "there are more than 65535 of them: give some to another listener";
            return Err(self.about(&["listeners", listener, "callers"], &[], message));
        }
        let mut taken = BTreeMap::<(&str, String), &str>::new();
        for (name, file) in callers {
            let CallerSection { key, certificate, uids, gids, .. } = file.get_ref();
            let hash = |hash: &Option<Spanned<String>>| hash.as_ref().map(|hash| hash.get_ref().to_ascii_lowercase());
            let hashes = [("key", hash(key)), ("certificate", hash(certificate))];
            let hashes = hashes.into_iter().filter_map(|(what, hash)| Some((what, hash?)));
            let numbers = uids.iter().map(|uid| ("uids", uid.to_string()));
            let numbers = numbers.chain(gids.iter().map(|gid| ("gids", gid.to_string())));
            for (what, proof) in hashes.chain(numbers) {
                if let Some(other) = taken.get(&(what, proof.clone())).filter(|other| *other != name) {
                    let message = format!(
                        "the caller {other} has the same: requests would count as those of {other}, and this caller's rules would never apply; give each caller its own"
                    );
                    return Err(self.about(&["listeners", listener, "callers", name, what], &[], message));
                }
                taken.insert((what, proof), name);
            }
        }
        Ok(())
    }
}
