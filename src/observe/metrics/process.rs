//! What the system knows of the process, under the names that all clients of Prometheus have for it.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::Gauge;
#[cfg(unix)]
use prometheus::{Counter, IntGauge};

use super::Families;

/// The series of the process. What a system does not tell has none.
#[derive(Debug, Clone)]
pub(super) struct ProcessSeries {
    #[cfg(unix)]
    cpu: Counter,
    #[cfg(unix)]
    most_files: IntGauge,
    #[cfg(target_os = "linux")]
    linux: Linux,
}

/// What `/proc` tells.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone)]
struct Linux {
    resident: IntGauge,
    address_space: IntGauge,
    threads: IntGauge,
    files: IntGauge,
}

impl ProcessSeries {
    /// The process begins now.
    pub(super) fn register(families: &Families<'_>) -> Result<Self, prometheus::Error> {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start = Gauge::new("process_start_time_seconds", "When the process started, in seconds since 1970.")?;
        start.set(started.as_secs_f64());
        families.add(&start)?;
        Ok(Self {
            #[cfg(unix)]
            cpu: families
                .add(&Counter::new("process_cpu_seconds_total", "Seconds of CPU time, in user and system mode.")?)?,
            #[cfg(unix)]
            most_files: families.number("process_max_fds", "The most file descriptors that may be open.")?,
            #[cfg(target_os = "linux")]
            linux: Linux {
                resident: families.number("process_resident_memory_bytes", "Bytes of memory in use.")?,
                address_space: families.number("process_virtual_memory_bytes", "Bytes of address space.")?,
                threads: families.number("process_threads", "Threads.")?,
                files: families.number("process_open_fds", "Open file descriptors.")?,
            },
        })
    }

    /// Asks the system; what it does not say now stays as it was.
    pub(super) fn look(&self) {
        #[cfg(unix)]
        {
            let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
            self.cpu.inc_by((spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9 - self.cpu.get()).max(0.0));
            let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
            self.most_files.set(most.and_then(|most| i64::try_from(most).ok()).unwrap_or(i64::MAX));
        }
        #[cfg(target_os = "linux")]
        self.linux.look();
    }
}

#[cfg(target_os = "linux")]
impl Linux {
    fn look(&self) {
        if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
            let told = [
                ("VmRSS:", &self.resident, 1024),
                ("VmSize:", &self.address_space, 1024),
                ("Threads:", &self.threads, 1),
            ];
            for (name, gauge, unit) in told {
                if let Some(number) = number(&status, name) {
                    gauge.set(number.saturating_mul(unit));
                }
            }
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            // One of them is the folder itself.
            gauge_of(&self.files, files.count().saturating_sub(1));
        }
    }
}

#[cfg(target_os = "linux")]
fn gauge_of(gauge: &IntGauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// The number in the line that begins with `name`.
#[cfg(target_os = "linux")]
fn number(status: &str, name: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn process_reads_numbers_of_its_status() {
        let status = "Name:\tninjaone-proxy\nVmSize:\t  123456 kB\nVmRSS:\t    7892 kB\nThreads:\t4\n";
        assert_eq!(
            ["VmRSS:", "VmSize:", "Threads:", "VmHWM:"].map(|name| number(status, name)),
            [Some(7892), Some(123_456), Some(4), None]
        );
    }
}
