//! Where sign-ins are found: in files, or in the shared store that the configuration names.

use std::time::Duration;

use tokio::time::timeout;

use crate::config::Config;
use crate::config::mistake::ConfigMistake;
use crate::config::users::SignInConfig;
use crate::observe::metrics::Metrics;
use crate::proxy::token::user_grant::grant_place::GrantPlace;
use crate::shared::SharedStore;

/// How long a command waits for the store.
const WAIT: Duration = Duration::from_secs(5);

/// Why sign-ins cannot be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoGrantPlaces {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigMistake),
    /// The store is down, or refuses us.
    #[error(
        "sign-ins are kept in the shared store {0}, which cannot be used: {1}; check [shared], and what doctor says of the store"
    )]
    Down(String, String),
    /// The system gives no randomness or no memory.
    #[error("nothing can be set up to ask the shared store")]
    Unready,
}

/// The places of all grants of a configuration.
pub(crate) struct GrantPlaces(Option<SharedStore>);

impl GrantPlaces {
    /// Connects to the store, if there is one.
    pub(crate) async fn open(config: &Config) -> Result<Self, NoGrantPlaces> {
        let Some(found) = config.shared()?.store else { return Ok(Self(None)) };
        let address = found.address.to_string();
        let series = Metrics::new().map_err(|_| NoGrantPlaces::Unready)?.shared_store();
        let store = SharedStore::start(found, series).map_err(|_| NoGrantPlaces::Unready)?;
        if !store.wait_up(WAIT).await {
            let why = store.fault().unwrap_or_else(|| "it did not answer".to_owned());
            return Err(NoGrantPlaces::Down(address, why));
        }
        // A store that was just emptied: the replicas write again what they know, and that must be there before somebody signs
        // in or out.
        let mut state = store.subscribe();
        let _ = timeout(WAIT, state.wait_for(|state| state.settled)).await;
        Ok(Self(Some(store)))
    }

    /// The command is done: it counts as a replica no more.
    pub(crate) async fn close(self) {
        if let Some(store) = self.0 {
            store.leave().await;
        }
    }

    /// Whether replicas share them.
    pub(crate) fn are_shared(&self) -> bool {
        self.0.is_some()
    }

    /// That of this person. The sandbox is a part of one process, and so are the sign-ins at it.
    pub(crate) fn of(&self, sign_in: &SignInConfig) -> GrantPlace {
        let store = self.0.clone().filter(|_| sign_in.site.is_some());
        GrantPlace::new(sign_in.user.file.clone(), store)
    }
}
