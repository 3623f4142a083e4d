//! Pages of lists as nobody should answer them: made of choices, so that they can be drawn, shrunk and mutated.

use ninjaone_proxy::proxy::fence::rows::{PageLimits, RowsCheck};

/// Choices, one byte each; when they are at their end, the first is taken everywhere, and everything ends soon.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl Choices<'_> {
    /// A number below `many`.
    pub(crate) fn below(&mut self, many: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % many
    }

    /// Whether something happens that happens once in so many cases.
    fn once_in(&mut self, many: usize) -> bool {
        self.below(many) == many - 1
    }

    fn of<'b>(&mut self, all: &[&'b str]) -> &'b str {
        all[self.below(all.len())]
    }

    /// Some cuts through so many bytes, ascending.
    pub(crate) fn cuts(&mut self, bytes: usize) -> Vec<usize> {
        let mut cuts: Vec<_> =
            (0..self.below(9)).map(|_| (self.below(251) * 251 + self.below(251)) % (bytes + 1)).collect();
        cuts.sort_unstable();
        cuts
    }

    pub(crate) fn limits(&mut self) -> PageLimits {
        PageLimits {
            row_bytes: [1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 500, 200, 60][self.below(10)],
            max_rows: [None, None, Some(2), Some(1), Some(0)][self.below(5)],
            rows_before: [0, 3][self.below(2)],
        }
    }

    /// A page that is one, mostly, for this check.
    pub(crate) fn document(&mut self, check: &RowsCheck) -> Vec<u8> {
        let mut text = self.blank().to_owned();
        if check.at.is_empty() {
            self.rows(check, &mut text);
        } else {
            self.frame(check, &mut text);
        }
        text.push_str(self.blank());
        let mut bytes = text.into_bytes();
        if self.once_in(8) {
            self.spoil(&mut bytes);
        }
        bytes
    }

    fn blank(&mut self) -> &'static str {
        ["", "", "", " ", "\n  ", "\t\r\n"][self.below(6)]
    }

    /// Breaks a document at one place.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        const PIECES: [&[u8]; 18] = [
            b"",
            b"\"",
            b"\\",
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b"0",
            b"\xef\xbb\xbf",
            b"\xff\xfe",
            b"\0",
            b" ",
            b"\xc0\xaf",
            b"\xed\xa0\x80",
            b"<html>",
            b"[]",
        ];
        let piece = PIECES[self.below(PIECES.len())];
        let at = (self.below(251) * 251 + self.below(251)) % (bytes.len() + 1);
        match self.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(0..0, piece.iter().copied())),
            2 => bytes.extend_from_slice(piece),
            3 => drop(bytes.splice(at..at, piece.iter().copied())),
            4 => drop(bytes.drain(at..(at + 1 + self.below(3)).min(bytes.len()))),
            _ => *bytes = String::from_utf8_lossy(bytes).encode_utf16().flat_map(u16::to_le_bytes).collect(),
        }
    }

    fn frame(&mut self, check: &RowsCheck, text: &mut String) {
        let mut members = vec![check.at.as_str()];
        if self.below(3) > 0 {
            members.insert(self.below(2), "cursor");
        }
        for _ in 0..self.below(4) {
            let other = self.of(&["total", "count", "Results", "lastActivityId", "\\u0000"]);
            let place = self.below(members.len() + 1);
            members.insert(place, other);
        }
        if self.once_in(30) {
            members.push("\\udc00");
        }
        if self.once_in(20) {
            members.push(check.at.as_str());
        }
        if self.once_in(20) {
            members.remove(0);
        }
        text.push('{');
        for (number, name) in members.iter().enumerate() {
            text.push_str(if number == 0 { "" } else { "," });
            text.push_str(self.blank());
            self.name(name, text);
            text.push_str(self.blank());
            text.push(':');
            text.push_str(self.blank());
            match *name {
                name if name == check.at && !self.once_in(30) => self.rows(check, text),
                "cursor" if self.below(3) > 0 => text.push_str(r#"{"name":"c-1","offset":200,"expires":1700000000.5}"#),
                "cursor" => self.cursor(text),
                _ => self.value(text, 2),
            }
            text.push_str(self.blank());
        }
        text.push('}');
    }

    fn cursor(&mut self, text: &mut String) {
        text.push_str(self.of(&[
            r#"{"name":"c-1","offset":200,"count":3,"expires":1700000000.5}"#,
            r#"{"name":"c-1","offset":200,"count":3,"expires":1700000000}"#,
            r#"{"n\u0061me" : "c-2"}"#,
            "null",
            r#"{"name":null,"expires":5}"#,
            r#"{"expires":"soon","name":"c"}"#,
            r#"{"name":"a b"}"#,
            r#"{"name":""}"#,
            r#"{"name":5}"#,
            r#"{"name":"c","name":"d"}"#,
            r#"["c",5]"#,
            "\"c\"",
            r#"{"name":"\u00e4"}"#,
            r#"{"name":"c","other":"\ud800","deep":[[[[{}]]]]}"#,
            r#"{"name":"c","expires":1e999}"#,
            r#"{"name":"c","other":1e999,"expires":{"a":[1,"\udc00"]}}"#,
        ]));
    }

    fn rows(&mut self, check: &RowsCheck, text: &mut String) {
        text.push('[');
        for number in 0..self.below(7) {
            text.push_str(if number == 0 { "" } else { "," });
            text.push_str(self.blank());
            self.row(check, text);
            text.push_str(self.blank());
        }
        text.push(']');
    }

    fn row(&mut self, check: &RowsCheck, text: &mut String) {
        let field = check.key.as_ref().map_or("id", |key| key.field.as_str());
        if field.is_empty() && !self.once_in(6) || self.once_in(25) {
            return self.id(text);
        }
        let mut members = vec![field];
        for _ in 0..self.below(6) {
            let other = self.field();
            let place = self.below(members.len() + 1);
            members.insert(place, other);
        }
        if self.once_in(12) {
            members.retain(|name| *name != field);
        }
        self.object(&members, field, text, 3);
    }

    /// An object with these members; the value of `key` is mostly an id inside.
    fn object(&mut self, members: &[&str], key: &str, text: &mut String, depth: usize) {
        text.push('{');
        for (number, name) in members.iter().enumerate() {
            text.push_str(if number == 0 { "" } else { "," });
            text.push_str(self.blank());
            self.name(name, text);
            text.push_str(self.blank());
            text.push(':');
            text.push_str(self.blank());
            if *name == key && !self.once_in(4) {
                self.good_id(name, text);
            } else {
                self.value_of(name, text, depth);
            }
        }
        text.push('}');
    }

    fn field(&mut self) -> &'static str {
        const ALL: [&str; 72] = [
            "name",
            "organizationId",
            "deviceId",
            "id",
            "type",
            "organization",
            "device",
            "entityType",
            "entityId",
            "references",
            "data",
            "clientId",
            "nodeId",
            "orgId",
            "licenseeOrganizationId",
            "destinationOrganizationId",
            "sourceOrganizationId",
            "targetOrganizationId",
            "parentOrganizationId",
            "organizationIds",
            "orgIds",
            "clientIds",
            "organizations",
            "org",
            "client",
            "clients",
            "parentDeviceId",
            "parentNodeId",
            "sourceDeviceId",
            "targetDeviceId",
            "deviceIds",
            "nodeIds",
            "assignedDeviceIds",
            "accessibleDeviceIds",
            "devices",
            "node",
            "nodes",
            "parentDevice",
            "entityIds",
            "relEntityId",
            "sourceEntityId",
            "targetEntityId",
            "licenseeId",
            "scope",
            "relEntityType",
            "sourceEntityType",
            "targetEntityType",
            "licenseeType",
            "OrganizationId",
            "organizationid",
            "organization_id",
            "organizationId ",
            "ownerId",
            "uid",
            "fields",
            "items",
            "organizationName",
            "deviceName",
            "locationId",
            "tags",
            "entityType",
            "entityId",
            "type",
            "scope",
            "relEntityType",
            "relEntityId",
            "targetEntityType",
            "targetEntityId",
            "",
            "id",
            "\\ud83d\\ude00",
            "a.b",
        ];
        ALL[self.below(ALL.len())]
    }

    /// A name, now and then with an escape in it.
    fn name(&mut self, name: &str, text: &mut String) {
        text.push('"');
        if self.once_in(8) && !name.is_empty() && name.is_ascii() && !name.contains('\\') {
            let at = self.below(name.len());
            let escaped = u32::from(name.as_bytes()[at]);
            text.push_str(&format!("{}\\u{escaped:04x}{}", &name[..at], &name[at + 1..]));
        } else {
            text.push_str(name);
        }
        text.push('"');
    }

    /// A value as a field of this name has it, or nearly.
    fn value_of(&mut self, name: &str, text: &mut String, depth: usize) {
        if self.once_in(9) {
            return self.value(text, depth);
        }
        match name {
            name if name.ends_with("Type") || matches!(name, "type" | "scope") => self.word(text),
            name if name.ends_with("Ids") => self.list(text),
            "org" | "organization" | "client" | "device" | "node" | "parentDevice" => self.thing(name, text, depth),
            "organizations" | "clients" | "devices" | "nodes" => {
                text.push('[');
                for number in 0..self.below(4) {
                    text.push_str(if number == 0 { "" } else { "," });
                    self.thing(name, text, depth);
                }
                text.push(']');
            }
            name if name.to_ascii_lowercase().ends_with("id") && self.below(3) > 0 => self.good_id(name, text),
            name if name.to_ascii_lowercase().ends_with("id") => self.id(text),
            _ => self.value(text, depth),
        }
    }

    fn good_id(&mut self, name: &str, text: &mut String) {
        let lower = name.to_ascii_lowercase();
        text.push_str(match lower.as_str() {
            "uid" => self.of(&["\"a0000000-0000-4000-8000-000000000001\"", "\"A0000000-0000-4000-8000-00000000000f\""]),
            "ownerid" => self.of(&["20", "29"]),
            lower if lower.contains("org") || lower.contains("client") => self.of(&["5", "7"]),
            _ => self.of(&["50", "51", "79"]),
        });
    }

    /// What is in the place of an id, and mostly not one that is inside.
    fn id(&mut self, text: &mut String) {
        if self.once_in(40) {
            return text.push_str(self.of(&["05", "1e999", "+5", "5.", "NaN", "50 51", ""]));
        }
        text.push_str(self.of(&[
            "50",
            "5",
            "7",
            "20",
            "6",
            "99",
            "null",
            "0",
            "-5",
            "5.0",
            "50.0",
            "5e0",
            "-0",
            "9007199254740991",
            "9007199254740992",
            "18446744073709551615",
            "18446744073709551621",
            "18446744073709551666",
            "true",
            "\"5\"",
            "\"50\"",
            "\"\"",
            "\" 50 \"",
            "[50]",
            "{}",
            "{\"id\":50}",
            "\"a0000000-0000-4000-8000-000000000001\"",
            "\"b0000000-0000-4000-8000-000000000001\"",
            "\"a00000000000-4000-8000-000000000001\"",
            "50",
            "79",
            "4294967346",
            "4294967301",
        ]));
    }

    fn list(&mut self, text: &mut String) {
        text.push('[');
        let is_good = self.below(2) == 0;
        for number in 0..self.below(4) {
            text.push_str(if number == 0 { "" } else { "," });
            if is_good { text.push_str(self.of(&["50", "5", "null", "79"])) } else { self.id(text) }
        }
        text.push(']');
    }

    fn thing(&mut self, name: &str, text: &mut String, depth: usize) {
        match self.below(8) {
            0..4 if depth > 0 => {
                let mut members = vec!["id"];
                for _ in 0..self.below(3) {
                    let other = self.field();
                    let place = self.below(members.len() + 1);
                    members.insert(place, other);
                }
                let is_organization = name.contains("org") || name.contains("client");
                text.push('{');
                for (number, member) in members.iter().enumerate() {
                    text.push_str(if number == 0 { "" } else { "," });
                    self.name(member, text);
                    text.push(':');
                    match *member {
                        "id" if !self.once_in(5) => text.push_str(if is_organization { "7" } else { "52" }),
                        member => self.value_of(member, text, depth - 1),
                    }
                }
                text.push('}');
            }
            4 => text.push_str("\"Harbour Clinic\""),
            5 => text.push_str("null"),
            6 => self.good_id(name, text),
            _ => self.id(text),
        }
    }

    fn word(&mut self, text: &mut String) {
        text.push_str(self.of(&[
            "\"NODE\"",
            "\"ORGANIZATION\"",
            "\"NODE_ROLE\"",
            "\"LOCATION\"",
            "\"END_USER\"",
            "\"TECHNICIAN\"",
            "\"DEVICE\"",
            "\"CLIENT\"",
            "null",
            "\"node\"",
            "\"NEW_THING\"",
            "5",
            "[\"NODE\"]",
            "\"N\\u004fDE\"",
            "\"KB_DOCUMENT\"",
            "\"ENTITY\"",
            "\"VALUE\"",
            "\"NODE \"",
        ]));
    }

    fn value(&mut self, text: &mut String, depth: usize) {
        match self.below(if depth == 0 { 12 } else { 15 }) {
            0..6 => text.push_str(self.of(&[
                "\"a\"",
                "1",
                "null",
                "true",
                "false",
                "-1.5e-3",
                "\"\\\"\\\\\\n\\u00e4\"",
                "\"\u{e4}\u{1f600}\"",
            ])),
            6 => text.push_str(self.of(&[
                "\"}\"",
                "\"]\"",
                "\"{\\\"organizationId\\\":99}\"",
                "\"[,\"",
                "\"\\\\\"",
                "\"\\\\\\\"]\"",
            ])),
            7 if !self.once_in(4) => text.push_str(self.of(&["\"\\ud83d\\ude00\"", "0e999", "1e-999"])),
            7 => text.push_str(self.of(&["\"\\ud800\"", "\"\\udc00x\"", "\"\\ud800\\u0041\"", "1e400", "-1e400"])),
            8 => self.id(text),
            9 => text.push_str("{}"),
            10 => {
                let depth = [0, 1, 2, 10, 20, 30, 40, 50, 60, 61, 62, 63, 64, 65, 70][self.below(15)];
                text.push_str(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
            }
            11 => text.push_str(&format!("\"{}\"", "long ".repeat(self.below(60)))),
            12 => {
                text.push('[');
                for number in 0..self.below(4) {
                    text.push_str(if number == 0 { "" } else { "," });
                    self.value(text, depth - 1);
                }
                text.push(']');
            }
            _ => {
                let members: Vec<_> = (0..self.below(4)).map(|_| self.field()).collect();
                self.object(&members, "", text, depth - 1);
            }
        }
    }
}
