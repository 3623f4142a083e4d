//! The end of a running proxy: what is under way is waited for, and what is only in memory is written.

use std::io;

use super::App;
use super::listeners::BoundListener;

impl App {
    /// Drains and ends all workers.
    pub async fn finish(self) -> io::Result<()> {
        self.admin_state.approvals.close();
        self.trigger.shut_down();
        self.listeners.iter().for_each(BoundListener::close);
        self.workers.join().await?;
        for user in self.instances.iter().flat_map(|instance| &instance.users) {
            user.settle().await;
        }
        if let Some(store) = &self.store {
            store.leave().await;
        }
        self.audit.end().await?;
        if let Some(traces) = self.traces {
            tokio::task::spawn_blocking(move || traces.finish()).await?;
        }
        self.usage.finish().await;
        Ok(())
    }
}
