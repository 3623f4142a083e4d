//! What was found: one line a check, as text for people or as JSON for programs.

use std::fmt;

use serde::Serialize;
use serde_json::json;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// The proxy works, but not as well as it could, or not for much longer.
    Warning,
    /// The proxy does not work, or not in full.
    Failed,
    /// Not tried, because an earlier check failed.
    Skipped,
}

impl CheckStatus {
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
pub struct CheckLine {
    /// The instance's name; none for what concerns all.
    pub instance: Option<String>,
    /// The check's name, stable for programs.
    pub check: String,
    /// How it ended.
    pub status: CheckStatus,
    /// What was seen.
    pub detail: String,
    /// What to do; there for warnings and failures.
    pub fix: Option<String>,
}

/// A line of the text form, and a second one with the fix.
impl fmt::Display for CheckLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, status, detail, fix, .. } = self;
        writeln!(f, "{:<8} {check:<16}  {detail}", status.as_str())?;
        match fix {
            Some(fix) => writeln!(f, "         fix: {fix}"),
            None => Ok(()),
        }
    }
}

/// All lines, in the order of the checks.
#[derive(Debug, Default)]
pub struct DoctorReport(pub Vec<CheckLine>);

impl DoctorReport {
    /// How many checks failed.
    pub fn failures(&self) -> usize {
        self.0.iter().filter(|line| line.status == CheckStatus::Failed).count()
    }

    /// The whole report as one JSON object.
    pub fn json(&self) -> String {
        format!("{}\n", json!({ "healthy": self.failures() == 0, "checks": self.0 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(status: CheckStatus, fix: Option<&str>) -> CheckLine {
        let (check, detail) = ("dns".to_owned(), "no address".to_owned());
        CheckLine { instance: Some("main".to_owned()), check, status, detail, fix: fix.map(str::to_owned) }
    }

    #[test]
    fn report_prints_a_line_and_its_cure() {
        assert_eq!(line(CheckStatus::Ok, None).to_string(), "ok       dns               no address\n");
        let text = line(CheckStatus::Failed, Some("check host")).to_string();
        assert_eq!(text, "failed   dns               no address\n         fix: check host\n");
    }

    #[test]
    fn report_is_healthy_with_warnings_and_not_with_failures() {
        let fine = DoctorReport(vec![
            line(CheckStatus::Ok, None),
            line(CheckStatus::Warning, Some("x")),
            line(CheckStatus::Skipped, None),
        ]);
        let told: serde_json::Value = serde_json::from_str(&fine.json()).expect("JSON");
        assert_eq!(told["healthy"], true);
        let ill = DoctorReport(vec![line(CheckStatus::Ok, None), line(CheckStatus::Failed, Some("check host"))]);
        let told: serde_json::Value = serde_json::from_str(&ill.json()).expect("JSON");
        let expected = json!({
            "instance": "main", "check": "dns", "status": "failed", "detail": "no address", "fix": "check host"
        });
        assert_eq!((&told["healthy"], &told["checks"][1]), (&false.into(), &expected));
        assert_eq!(told["checks"][0]["fix"], serde_json::Value::Null);
    }
}
