//! The threads of the workers: starts them, gives them commands, and waits for their end.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::runtime_config::{RuntimeConfig, Sockets};
use super::worker::{Worker, WorkerCommand};
use crate::net::shutdown::Shutdown;
use crate::proxy::RequestIds;
use crate::proxy::headers::loops::LoopMark;

/// All workers.
pub(super) struct Workers {
    threads: Vec<thread::JoinHandle<io::Result<()>>>,
    commands: Vec<UnboundedSender<WorkerCommand>>,
    ended: UnboundedReceiver<()>,
}

/// Asks workers whether they are alive.
#[derive(Clone)]
pub struct LivenessCheck(Vec<UnboundedSender<WorkerCommand>>);

/// Tells that a worker has ended, also when it panicked.
struct EndNotice(UnboundedSender<()>);

impl Drop for EndNotice {
    fn drop(&mut self) {
        // Nobody listens any more once shutdown has begun.
        let _ = self.0.send(());
    }
}

impl LivenessCheck {
    /// Ends when each worker has come round to answering, or has ended.
    pub async fn felt(&self) {
        let (answer, mut answered) = mpsc::channel(1);
        for commands in &self.0 {
            // One that has ended is reported elsewhere.
            let _ = commands.send(WorkerCommand::Answer(answer.clone()));
        }
        drop(answer);
        answered.recv().await;
    }
}

impl Workers {
    /// Starts `count` workers that serve nothing yet; `run` makes request ids differ from those of other runs.
    pub(super) fn start(count: usize, run: u32, mark: &LoopMark, shutdown: &Shutdown) -> io::Result<Self> {
        let (end, ended) = unbounded_channel();
        let (mut threads, mut commands) = (Vec::new(), Vec::new());
        for (_, number) in (0..count).zip(0..) {
            let (sender, receiver) = unbounded_channel();
            let (shutdown, ending) = (shutdown.clone(), EndNotice(end.clone()));
            let ids = RequestIds::new(run | (number & 0xff), mark);
            let work = move || {
                let _ending = ending;
                let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
                runtime.block_on(Worker::new(ids).run(receiver, shutdown))
            };
            threads.push(thread::Builder::new().name(format!("worker-{number}")).spawn(work)?);
            commands.push(sender);
        }
        Ok(Self { threads, commands, ended })
    }

    pub(super) fn count(&self) -> usize {
        self.threads.len()
    }

    /// Has all of them serve this configuration, with sockets for what is new; ends when they do.
    pub(super) async fn serve(&self, config: &Arc<RuntimeConfig>, sockets: Vec<Sockets>) {
        let (taken, mut all) = mpsc::channel(1);
        for (commands, sockets) in self.commands.iter().zip(sockets) {
            // One that has ended ends the process.
            let _ = commands.send(WorkerCommand::Serve(Arc::clone(config), sockets, taken.clone()));
        }
        drop(taken);
        all.recv().await;
    }

    pub(super) fn pulse(&self) -> LivenessCheck {
        LivenessCheck(self.commands.clone())
    }

    /// Ends when a worker has ended.
    pub(super) async fn one_ended(&mut self) {
        self.ended.recv().await;
    }

    /// Waits until all have ended.
    pub(super) async fn join(self) -> io::Result<()> {
        for thread in self.threads {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
            joined.map_err(|_| io::Error::other("a worker panicked"))??;
        }
        Ok(())
    }
}
