//! What happened in the last minutes: a bounded row of samples, and the charts that are drawn from it.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::observe::metrics::totals::Sums;

/// How often a sample is taken.
pub const PERIOD: Duration = Duration::from_secs(2);
/// How much time a chart shows.
pub const SHOWN: Duration = Duration::from_secs(300);
/// How many samples are kept: those of five minutes, and the one before the first.
const KEPT: usize = 152;
/// Over how many samples latencies are looked at.
const WINDOW: usize = 5;
/// The size of a drawing, in its own units: one for each second, so that a minute is 60.
pub const WIDTH: f64 = 300.0;
/// The height of a drawing.
pub const HEIGHT: f64 = 60.0;

/// The sums of the last minutes.
#[derive(Debug, Default)]
pub struct History {
    /// The newest last.
    samples: VecDeque<(Instant, Sums)>,
}

/// A drawing, and what it says in words.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Chart {
    /// Lines, as SVG path data.
    pub lines: Vec<String>,
    /// The last value.
    pub now: String,
    /// The largest value.
    pub max: String,
    /// The value at the top of the scale.
    pub top: String,
}

/// All charts.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Charts {
    /// Requests a second.
    pub requests: Chart,
    /// Refusals a second.
    pub refused: Chart,
    /// The median of the latency, and its 95th percentile.
    pub latency: Chart,
}

/// Values, each with the seconds before the newest; `None` where nothing was measured.
type ChartLine = Vec<(f64, Option<f64>)>;

impl History {
    /// Takes a sample, unless the last is too young.
    pub fn sample(&mut self, at: Instant, sum: impl FnOnce() -> Sums) {
        let young = |(last, _): &(Instant, Sums)| at.saturating_duration_since(*last) < PERIOD.mul_f64(0.75);
        if self.samples.back().is_some_and(young) {
            return;
        }
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back((at, sum()));
    }

    /// Draws the samples.
    pub fn charts(&self) -> Charts {
        let per_second = |count: fn(&Sums) -> u64| -> ChartLine {
            let rate = |((from, old), (to, new)): (&(Instant, Sums), &(Instant, Sums))| {
                let seconds = to.saturating_duration_since(*from).as_secs_f64();
                let rate = (seconds > 0.0).then(|| count(new).saturating_sub(count(old)) as f64 / seconds);
                (self.age(*to), rate)
            };
            self.samples.iter().zip(self.samples.iter().skip(1)).map(rate).collect()
        };
        let rate = |value: f64| if value >= 10.0 { format!("{value:.0}/s") } else { format!("{value:.1}/s") };
        Charts {
            requests: chart(&[per_second(|sum| sum.requests)], rate),
            refused: chart(&[per_second(|sum| sum.refusals)], rate),
            latency: chart(&[self.latencies(0.5), self.latencies(0.95)], span),
        }
    }

    /// A quantile of the requests that ended in the last few samples before each.
    fn latencies(&self, quantile: f64) -> ChartLine {
        let at = |place: usize| self.samples.get(place).map(|(_, sum)| sum.durations.as_slice()).unwrap_or_default();
        let samples = self.samples.iter().enumerate().skip(1);
        let value = |place: usize| percentile(at(place.saturating_sub(WINDOW)), at(place), quantile);
        samples.map(|(place, (taken, _))| (self.age(*taken), value(place))).collect()
    }

    /// How many seconds before the newest sample this was.
    fn age(&self, at: Instant) -> f64 {
        self.samples.back().map_or(0.0, |(newest, _)| newest.saturating_duration_since(at).as_secs_f64())
    }
}

/// A quantile of what was counted between two readings of a histogram, in seconds; evenly spread within each bucket,
/// and at the last bound what is above it.
fn percentile(old: &[(f64, u64)], new: &[(f64, u64)], quantile: f64) -> Option<f64> {
    let before = |place: usize| old.get(place).map_or(0, |(_, count)| *count);
    let counts: Vec<(f64, u64)> =
        (0..).zip(new).map(|(place, (bound, count))| (*bound, count.saturating_sub(before(place)))).collect();
    let (_, all) = counts.last().filter(|(_, all)| *all > 0)?;
    let (mut low, mut below) = (0.0, 0);
    for (bound, count) in &counts {
        let wanted = quantile * *all as f64;
        if *count as f64 >= wanted && *count > below {
            let share = (wanted - below as f64) / (count - below) as f64;
            return Some(if bound.is_finite() { low + (bound - low) * share } else { low });
        }
        if bound.is_finite() {
            low = *bound;
        }
        below = *count;
    }
    Some(low)
}

fn span(seconds: f64) -> String {
    if seconds < 0.01 {
        format!("{:.1} ms", seconds * 1000.0)
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1000.0)
    } else {
        format!("{seconds:.1} s")
    }
}

fn chart(lines: &[ChartLine], show: impl Fn(f64) -> String) -> Chart {
    let most = lines.iter().flatten().filter_map(|(_, value)| *value).fold(0.0, f64::max);
    let top = round_up(most);
    let last = |line: &ChartLine| line.last().and_then(|(_, value)| *value).map_or("–".to_owned(), &show);
    let now = lines.iter().map(last).collect::<Vec<_>>().join(" / ");
    let lines = lines.iter().map(|line| draw(line, top)).collect();
    let (max, top) = if most > 0.0 { (show(most), show(top)) } else { Default::default() };
    Chart { lines, now, max, top }
}

/// The next of 1, 2, 5, 10, 20, 50 and so on.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let unit = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0];
    steps.into_iter().map(|step| step * unit).find(|round| *round >= value * 0.999_999).unwrap_or(10.0 * unit)
}

/// The newest value is at the right edge; where there is none, the line has a gap.
fn draw(line: &ChartLine, top: f64) -> String {
    let (mut path, mut pen) = (String::new(), false);
    for (age, value) in line {
        let x = WIDTH * (1.0 - age / SHOWN.as_secs_f64());
        let value = value.filter(|_| x >= 0.0);
        if let Some(value) = value {
            let y = HEIGHT - 1.0 - (HEIGHT - 2.0) * (value / top).clamp(0.0, 1.0);
            // Writing to a String does not fail.
            let _ = write!(path, "{}{x:.0} {y:.1}", if pen { "L" } else { "M" });
        }
        pen = value.is_some();
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(requests: u64, refusals: u64, durations: &[(f64, u64)]) -> Sums {
        Sums { requests, refusals, in_flight: 0, durations: durations.to_vec() }
    }

    fn history(samples: impl IntoIterator<Item = Sums>) -> History {
        let (begun, mut history) = (Instant::now(), History::default());
        for (number, sum) in (0..).zip(samples) {
            history.sample(begun + PERIOD * number, || sum);
        }
        history
    }

    #[test]
    fn history_tells_rates_and_latencies_of_the_last_samples() {
        let fast = [(0.1, 100), (1.0, 100), (f64::INFINITY, 100)];
        let slow = [(0.1, 100), (1.0, 140), (f64::INFINITY, 140)];
        let charts = history([sum(0, 0, &[]), sum(100, 3, &fast), sum(140, 3, &slow)]).charts();
        assert_eq!(
            (charts.requests.now.as_str(), charts.requests.max.as_str(), charts.requests.top.as_str()),
            ("20/s", "50/s", "50/s")
        );
        assert_eq!((charts.refused.now.as_str(), charts.refused.top.as_str()), ("0.0/s", "2.0/s"));
        assert_eq!(charts.latency.now, "70 ms / 842 ms");
        assert_eq!((charts.requests.lines.len(), charts.latency.lines.len()), (1, 2));
        assert_eq!(charts.requests.lines[0], "M298 1.0L300 35.8", "two seconds before, and now");
    }

    #[test]
    fn history_without_requests_has_rates_but_no_latencies() {
        let charts = history([sum(7, 0, &[(0.1, 7)]), sum(7, 0, &[(0.1, 7)])]).charts();
        assert_eq!((charts.requests.now.as_str(), charts.latency.now.as_str()), ("0.0/s", "– / –"));
        assert_eq!((charts.requests.top.as_str(), charts.latency.lines[0].as_str()), ("", ""));
        assert_eq!(History::default().charts().requests.now, "–");
    }

    #[test]
    fn history_is_bounded_and_takes_no_sample_twice() {
        let mut history = history((0..400).map(|number| sum(number, 0, &[])));
        assert_eq!(history.samples.len(), KEPT);
        let (last, _) = history.samples[KEPT - 1];
        history.sample(last + PERIOD / 2, || panic!("it is too early"));
        assert!(history.charts().requests.lines[0].starts_with("M0 "));
    }

    #[test]
    fn history_puts_values_where_their_time_is() {
        let (begun, mut history) = (Instant::now(), History::default());
        for (number, second) in [0, 2, 240, 242, 542].into_iter().enumerate() {
            history.sample(begun + Duration::from_secs(second), || sum(number as u64, 0, &[]));
        }
        let line = history.charts().requests.lines.remove(0);
        assert!(line.starts_with("M0 ") && line.contains("L300 "), "what is older is not drawn: {line}");
        assert_eq!(line.matches(['M', 'L']).count(), 2, "{line}");
    }

    proptest! {
        #[test]
        fn history_draws_within_its_frame(samples in prop::collection::vec((0u64..1 << 40, 0u64..1 << 40), 0..300)) {
            let samples = samples.into_iter().map(|(a, b)| sum(a, b, &[(0.5, a), (f64::INFINITY, a.saturating_add(b))]));
            let charts = history(samples).charts();
            for line in [charts.requests, charts.refused, charts.latency].iter().flat_map(|chart| &chart.lines) {
                for number in line.split(['M', 'L', ' ']).filter(|number| !number.is_empty()) {
                    let number: f64 = number.parse().expect("a number");
                    prop_assert!((0.0..=WIDTH).contains(&number), "{line}");
                }
            }
        }
    }
}
