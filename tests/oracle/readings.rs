//! How servers may read a path, and what a path plainly means: the measure of the real judge.

/// A slow and obvious judge of a plain path: splits it, and compares with each template of the data file. Allowed are
/// reads of the scope monitoring, except guarded groups, `/v2/users` and what is below `/v2/device/7`.
pub(crate) fn obviously_allowed(path: &str) -> bool {
    let data = include_str!("../../src/proxy/policy/catalog.tsv");
    let segments: Vec<&str> = path.split('/').collect();
    if segments.get(1..3) == Some(&["v2", "users"]) && segments.len() == 3 {
        return false;
    }
    if segments.get(1..4) == Some(&["v2", "device", "7"]) {
        return false;
    }
    data.lines().filter(|line| line.starts_with("GET\t")).any(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let template: Vec<&str> = columns[1].split('/').collect();
        columns[2] == "monitoring"
            && !["installers", "scripts", "users-and-roles", "webhooks"].contains(&columns[3])
            && template.len() == segments.len()
            && template.iter().zip(&segments).all(|(wanted, got)| match wanted.strip_prefix('{') {
                None => wanted == got,
                Some(parameter) => match parameter.trim_end_matches('}').split_once(':').expect("typed").1 {
                    "integer" => got.parse::<u64>().is_ok_and(|number| number.to_string() == *got),
                    "uid" => got.len() == 36 && *got == got.to_lowercase(),
                    "name" => !got.is_empty(),
                    words => words.split('|').any(|word| word == *got),
                },
            })
    })
}

/// One decoding, as lenient as any server's: what is not an encoding stays.
fn decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (bytes[i], hex) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                i += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// What a server makes of a path that merges slashes, resolves dots, cuts parameters and turns backslashes.
fn normalize(path: &str) -> String {
    let mut kept: Vec<String> = Vec::new();
    for segment in path.replace('\\', "/").split('/') {
        let segment = segment.split([';', '?', '#', '\0']).next().unwrap_or_default();
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other.to_owned()),
        }
    }
    format!("/{}", kept.join("/"))
}

/// What a server makes of a path that reads each segment as a number if it can, and words in any case.
fn interpret(path: &str) -> String {
    let digit = |letter: char| match letter {
        '\u{660}'..='\u{669}' => char::from_digit(letter as u32 - 0x660, 10).unwrap(),
        other => other,
    };
    let segment = |segment: &str| {
        let text: String = segment.trim().chars().map(digit).collect();
        let leading: String = text.trim_start_matches('+').chars().take_while(char::is_ascii_digit).collect();
        leading.parse::<u64>().map_or_else(|_| text.clone(), |number| number.to_string())
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// The path under every plausible reading.
pub(crate) fn readings(path: &str) -> Vec<String> {
    let once = decode(path);
    let twice = decode(&once);
    let literal = vec![normalize(path), normalize(&once), normalize(&twice), decode(&normalize(path)), once, twice];
    let interpreted = literal.iter().map(|path| interpret(path)).collect();
    [literal, interpreted].concat()
}
