//! What was found: one line a check, as text for people or as JSON for programs.

use std::fmt;

use serde::Serialize;
use serde_json::json;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// The proxy works, but not as well as it could, or not for much longer.
    Warning,
    /// The proxy does not work, or not in full.
    Failed,
    /// Not tried, because an earlier check failed.
    Skipped,
}

impl Status {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One check, and what came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The instance's name; none for what concerns all.
    pub instance: Option<String>,
    /// The check's name, stable for programs.
    pub check: String,
    /// How it ended.
    pub status: Status,
    /// What was seen.
    pub detail: String,
    /// What to do; there for warnings and failures.
    pub cure: Option<String>,
}

/// A line of the text form, and a second one with the cure.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, status, detail, cure, .. } = self;
        writeln!(f, "{:<8} {check:<16}  {detail}", status.as_str())?;
        match cure {
            Some(cure) => writeln!(f, "         cure: {cure}"),
            None => Ok(()),
        }
    }
}

/// All lines, in the order of the checks.
#[derive(Debug, Default)]
pub struct Report(pub Vec<Line>);

impl Report {
    /// How many checks failed.
    pub fn failures(&self) -> usize {
        self.0.iter().filter(|line| line.status == Status::Failed).count()
    }

    /// The whole report as one JSON object.
    pub fn json(&self) -> String {
        format!("{}\n", json!({ "healthy": self.failures() == 0, "checks": self.0 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(status: Status, cure: Option<&str>) -> Line {
        let (check, detail) = ("dns".to_owned(), "no address".to_owned());
        Line { instance: Some("main".to_owned()), check, status, detail, cure: cure.map(str::to_owned) }
    }

    #[test]
    fn report_prints_a_line_and_its_cure() {
        assert_eq!(line(Status::Ok, None).to_string(), "ok       dns               no address\n");
        let text = line(Status::Failed, Some("check host")).to_string();
        assert_eq!(text, "failed   dns               no address\n         cure: check host\n");
    }

    #[test]
    fn report_is_healthy_with_warnings_and_not_with_failures() {
        let fine = Report(vec![line(Status::Ok, None), line(Status::Warning, Some("x")), line(Status::Skipped, None)]);
        let told: serde_json::Value = serde_json::from_str(&fine.json()).expect("JSON");
        assert_eq!(told["healthy"], true);
        let ill = Report(vec![line(Status::Ok, None), line(Status::Failed, Some("check host"))]);
        let told: serde_json::Value = serde_json::from_str(&ill.json()).expect("JSON");
        let expected = json!({
            "instance": "main", "check": "dns", "status": "failed", "detail": "no address", "cure": "check host"
        });
        assert_eq!((&told["healthy"], &told["checks"][1]), (&false.into(), &expected));
        assert_eq!(told["checks"][0]["cure"], serde_json::Value::Null);
    }
}
