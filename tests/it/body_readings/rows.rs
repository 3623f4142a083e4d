//! Bodies that readers of JSON read in different ways, and what must become of each.

use Outcome::{Met, Refused, Unmet};

/// One body, and the conditions that it is held against, by their name in [`RULES`].
pub(crate) struct Row {
    pub(crate) rule: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) outcome: Outcome,
}

/// What must become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every reader finds what the conditions want.
    Met,
    /// Some reader may not.
    Unmet,
    /// It is not judged, for this reason.
    Refused(&'static str),
}

/// The conditions, as in a rule of the configuration.
pub(crate) const RULES: [(&str, &str); 14] = [
    ("id", r#""/id" = 12"#),
    ("list", r#""/id" = [12, 13]"#),
    (
        "script",
        r#""/id" = 12
"/runAs" = "SYSTEM""#,
    ),
    (
        "no uid",
        r#""/id" = 12
"/uid" = { present = false }"#,
    ),
    ("force", r#""/force" = false"#),
    (
        "one",
        r#""/ids/0" = 12
"/ids/1" = { present = false }"#,
    ),
    ("level", r#""/options/level" = 1"#),
    ("inner", r#""/options/inner/level" = 1"#),
    ("no name", r#""/options/name" = { present = false }"#),
    ("path", r#""/path" = { prefix = "/opt/" }"#),
    ("reason", r#""/reason" = { present = true }"#),
    ("field", r#""/fields/a" = "x""#),
    ("no ids", r#""/ids/0" = { present = false }"#),
    ("whole", r#""" = 12"#),
];

const TWICE: Outcome = Refused("KeyTwice");
const ALIKE: Outcome = Refused("KeysAlike");
const SYNTAX: Outcome = Refused("Syntax");
const NUMBER: Outcome = Refused("Number");
const COMMENT: Outcome = Refused("Comment");
const COMMA: Outcome = Refused("TrailingComma");
const AFTER: Outcome = Refused("TrailingData");
const CONTROL: Outcome = Refused("ControlCharacter");
const ESCAPE: Outcome = Refused("Escape");
const SURROGATE: Outcome = Refused("LoneSurrogate");
const NUL: Outcome = Refused("Nul");
const MARK: Outcome = Refused("ByteOrderMark");
const UTF8: Outcome = Refused("NotUtf8");
const DEEP: Outcome = Refused("TooDeep");
const SHORT: Outcome = Refused("Incomplete");
const EMPTY: Outcome = Refused("Empty");

type Text = (&'static str, &'static str, Outcome);
type Raw = (&'static str, &'static [u8], Outcome);

const PLAIN: &[Text] = &[
    ("id", r#"{"id":12}"#, Met),
    ("id", " \t\r\n{ \"id\"\n:\t12 }\r\n ", Met),
    ("id", r#"{"i\u0064":12}"#, Met),
    ("id", r#"{"\u0069\u0064":12,"x":[{"id":13}]}"#, Met),
    ("id", r#"{"id":12,"options":{"id":13}}"#, Met),
    ("id", r#"{"id":13}"#, Unmet),
    ("id", r#"{}"#, Unmet),
    ("id", r#"[]"#, Unmet),
    ("id", r#"null"#, Unmet),
    ("id", r#"12"#, Unmet),
    ("id", r#""{\"id\":12}""#, Unmet),
    ("whole", "12", Met),
    ("whole", " 12\n", Met),
    ("whole", "[12]", Unmet),
    ("whole", "\"12\"", Unmet),
    ("list", r#"{"id":13}"#, Met),
    ("list", r#"{"id":[12,13]}"#, Unmet),
    ("script", r#"{"runAs":"SYSTEM","id":12}"#, Met),
    ("script", r#"{"id":12,"runAs":"SYST\u0045M"}"#, Met),
    ("script", r#"{"id":12}"#, Unmet),
    ("field", r#"{"fields":{"a":"x","b":null}}"#, Met),
];

const DUPLICATES: &[Text] = &[
    ("id", r#"{"id":12,"id":12}"#, TWICE),
    ("id", r#"{"id":12,"id":13}"#, TWICE),
    ("id", r#"{"id":13,"id":12}"#, TWICE),
    ("id", r#"{"id":12,"\u0069d":13}"#, TWICE),
    ("id", r#"{"\u0069d":13,"id":12}"#, TWICE),
    ("id", r#"{"\u0069d":12,"i\u0064":13}"#, TWICE),
    ("id", r#"{"\u0069d":12,"\u0069\u0064":13}"#, TWICE),
    ("id", r#"{"id":12,"x":1,"y":2,"id":13}"#, TWICE),
    ("id", r#"{"x":1,"id":12,"x":2}"#, TWICE),
    ("id", r#"{"id":12,"":1,"":2}"#, TWICE),
    ("id", r#"{"id":12,"a/b":1,"a\/b":2}"#, TWICE),
    ("id", r#"{"id":12,"\uD83D\uDE00":1,"😀":2}"#, TWICE),
    ("id", r#"{"id":12,"\"":1,"\u0022":2}"#, TWICE),
    ("id", r#"{"id":12,"\n":1,"\u000a":2}"#, TWICE),
    ("id", r#"{"id":12,"\n":1,"\u000A":2}"#, TWICE),
    ("id", r#"{"id":12,"options":{"name":1,"name":2}}"#, TWICE),
    ("id", r#"{"id":12,"x":[{"a":1,"a":2}]}"#, TWICE),
    ("id", r#"{"id":12,"x":[[[{"b":{"a":1,"a":1}}]]]}"#, TWICE),
    ("id", r#"[{"id":12},{"id":12,"id":12}]"#, TWICE),
    ("level", r#"{"options":{"level":1},"options":{"level":2}}"#, TWICE),
    ("level", r#"{"options":{"level":2},"options":{"level":1}}"#, TWICE),
    ("level", r#"{"options":{"level":1,"level":2}}"#, TWICE),
    ("level", r#"{"options":{"level":1},"options":null}"#, TWICE),
    ("inner", r#"{"options":{"inner":{"level":1},"inner":{}}}"#, TWICE),
    ("inner", r#"{"options":{"inner":{"level":1}},"\u006fptions":{}}"#, TWICE),
    ("field", r#"{"fields":{"a":"x","a":"y"}}"#, TWICE),
    ("no uid", r#"{"id":12,"uid":null,"uid":"u"}"#, TWICE),
];

const CASE: &[Text] = &[
    ("id", r#"{"id":12,"ID":13}"#, ALIKE),
    ("id", r#"{"ID":13,"id":12}"#, ALIKE),
    ("id", r#"{"id":12,"Id":13}"#, ALIKE),
    ("id", r#"{"id":12,"iD":13}"#, ALIKE),
    ("id", r#"{"id":12,"\u0049D":13}"#, ALIKE),
    ("id", r#"{"id":12,"ıd":13}"#, ALIKE),
    ("id", r#"{"id":12,"İd":13}"#, ALIKE),
    ("id", r#"{"id":12,"i̇d":13}"#, ALIKE),
    ("id", r#"{"id":12,"İD":13}"#, ALIKE),
    ("id", r#"{"id":12,"_id":13}"#, ALIKE),
    ("id", r#"{"id":12,"i-d":13}"#, ALIKE),
    ("id", r#"{"id":12,"I_D":13}"#, ALIKE),
    ("id", r#"{"ID":12}"#, Unmet),
    ("id", r#"{"Id":12}"#, Unmet),
    ("id", r#"{"ıd":12}"#, Unmet),
    ("id", r#"{"i_d":12}"#, Unmet),
    ("script", r#"{"id":12,"runAs":"SYSTEM","RUNAS":"ME"}"#, ALIKE),
    ("script", r#"{"id":12,"runAs":"SYSTEM","run_as":"ME"}"#, ALIKE),
    ("script", r#"{"id":12,"runAs":"SYSTEM","run-as":"ME"}"#, ALIKE),
    ("script", r#"{"id":12,"runAs":"SYSTEM","runAſ":"ME"}"#, ALIKE),
    ("script", r#"{"id":12,"runas":"SYSTEM"}"#, Unmet),
    ("script", r#"{"id":12,"runAs":"system"}"#, Unmet),
    ("id", r#"{"id":12,"k":1,"K":2}"#, ALIKE),
    ("id", r#"{"id":12,"ß":1,"ẞ":2}"#, ALIKE),
    ("id", r#"{"id":12,"σ":1,"ς":2}"#, ALIKE),
    ("id", r#"{"id":12,"µ":1,"μ":2}"#, ALIKE),
    ("id", r#"{"id":12,"ä":1,"Ä":2}"#, ALIKE),
    ("id", r#"{"id":12,"Ω":1,"ω":2}"#, ALIKE),
    ("id", r#"{"id":12,"ǆ":1,"ǅ":2}"#, ALIKE),
    ("id", r#"{"id":12,"𐐨":1,"𐐀":2}"#, ALIKE),
    ("id", r#"{"id":12,"x":{"a":1,"A":2}}"#, ALIKE),
    ("id", r#"{"id":12,"x":[{"a":1},{"A":2}]}"#, Met),
    ("level", r#"{"options":{"level":1},"Options":{"level":2}}"#, ALIKE),
    ("level", r#"{"options":{"level":1,"Level":2}}"#, ALIKE),
    ("level", r#"{"OPTIONS":{"level":1}}"#, Unmet),
    ("no uid", r#"{"id":12}"#, Met),
    ("no uid", r#"{"id":12,"UID":"u"}"#, Unmet),
    ("no uid", r#"{"id":12,"Uid":"u"}"#, Unmet),
    ("no uid", r#"{"id":12,"u_id":"u"}"#, Unmet),
    ("no uid", r#"{"id":12,"\u0055id":null}"#, Unmet),
    ("no uid", r#"{"id":12,"uıd":"u"}"#, Unmet),
    ("no uid", r#"{"id":12,"uİd":"u"}"#, Unmet),
    ("no uid", r#"{"id":12,"uid ":"u"}"#, Met),
    // No reader of JSON normalizes Unicode or drops invisible characters.
    ("no uid", "{\"id\":12,\"\u{ff55}id\":\"u\"}", Met),
    ("no uid", "{\"id\":12,\"u\u{200b}id\":\"u\"}", Met),
];

const NUMBERS: &[Text] = &[
    ("id", r#"{"id":12.0}"#, Unmet),
    ("id", r#"{"id":12.000}"#, Unmet),
    ("id", r#"{"id":1.2e1}"#, Unmet),
    ("id", r#"{"id":12e0}"#, Unmet),
    ("id", r#"{"id":12E+0}"#, Unmet),
    ("id", r#"{"id":120e-1}"#, Unmet),
    ("id", r#"{"id":12.9}"#, Unmet),
    ("id", r#"{"id":-12}"#, Unmet),
    ("id", r#"{"id":"12"}"#, Unmet),
    ("id", r#"{"id":" 12 "}"#, Unmet),
    ("id", r#"{"id":4294967308}"#, Unmet),
    ("id", r#"{"id":18446744073709551628}"#, Unmet),
    ("id", r#"{"id":[12]}"#, Unmet),
    ("id", r#"{"id":{"value":12}}"#, Unmet),
    ("id", r#"{"id":true}"#, Unmet),
    ("id", r#"{"id":null}"#, Unmet),
    ("id", r#"{"id":""}"#, Unmet),
    ("id", r#"{"id":012}"#, NUMBER),
    ("id", r#"{"id":00012}"#, NUMBER),
    ("id", r#"{"id":+12}"#, NUMBER),
    ("id", r#"{"id":0xC}"#, NUMBER),
    ("id", r#"{"id":0b1100}"#, NUMBER),
    ("id", r#"{"id":0o14}"#, NUMBER),
    ("id", r#"{"id":12.}"#, NUMBER),
    ("id", r#"{"id":.12}"#, NUMBER),
    ("id", r#"{"id":12e}"#, NUMBER),
    ("id", r#"{"id":12e+}"#, NUMBER),
    ("id", r#"{"id":--12}"#, NUMBER),
    ("id", r#"{"id":-}"#, NUMBER),
    ("id", r#"{"id":-012}"#, NUMBER),
    ("id", r#"{"id":1_2}"#, NUMBER),
    ("id", r#"{"id":12L}"#, NUMBER),
    ("id", r#"{"id":12f}"#, NUMBER),
    ("id", r#"{"id":12d}"#, NUMBER),
    ("id", r#"{"id":1e1.5}"#, NUMBER),
    ("id", r#"{"id":1.2.3}"#, NUMBER),
    ("id", r#"{"id":NaN}"#, NUMBER),
    ("id", r#"{"id":Infinity}"#, NUMBER),
    ("id", r#"{"id":-Infinity}"#, NUMBER),
    ("id", r#"{"id":+INF}"#, NUMBER),
    ("id", r#"{"id":12,"x":NaN}"#, NUMBER),
    ("id", r#"{"id":12,"x":01}"#, NUMBER),
    ("id", r#"{"id":nan}"#, SYNTAX),
    ("id", r#"{"id":١٢}"#, SYNTAX),
    ("id", r#"{"id":12٣}"#, SYNTAX),
    ("id", r#"{"id":12 13}"#, SYNTAX),
    ("id", r#"{"id":12,"x":1e400}"#, Met),
    ("id", r#"{"id":12,"x":-0}"#, Met),
    ("id", r#"{"id":12,"x":0.1e-400}"#, Met),
    ("id", r#"{"id":12,"x":9007199254740993}"#, Met),
    ("id", r#"{"id":12,"x":123456789012345678901234567890.5}"#, Met),
    ("level", r#"{"options":{"level":1.0}}"#, Unmet),
    ("level", r#"{"options":{"level":true}}"#, Unmet),
    ("level", r#"{"options":{"level":"1"}}"#, Unmet),
];

const TYPES: &[Text] = &[
    ("force", r#"{"force":false}"#, Met),
    ("force", r#"{"force":"false"}"#, Unmet),
    ("force", r#"{"force":0}"#, Unmet),
    ("force", r#"{"force":null}"#, Unmet),
    ("force", r#"{"force":""}"#, Unmet),
    ("force", r#"{"force":[false]}"#, Unmet),
    ("force", r#"{"force":true}"#, Unmet),
    ("force", r#"{"force":False}"#, SYNTAX),
    ("force", r#"{"force":FALSE}"#, SYNTAX),
    ("force", r#"{"force":falsey}"#, SYNTAX),
    ("script", r#"{"id":12,"runAs":["SYSTEM"]}"#, Unmet),
    ("script", r#"{"id":12,"runAs":"SYSTEM "}"#, Unmet),
    ("script", r#"{"id":12,"runAs":" SYSTEM"}"#, Unmet),
    ("script", r#"{"id":12,"runAs":"SYSTEM\n"}"#, Unmet),
    ("level", r#"{"options":[{"level":1}]}"#, Unmet),
    ("level", r#"{"options":"{\"level\":1}"}"#, Unmet),
    ("level", r#"{"options.level":1}"#, Unmet),
    ("level", r#"{"options/level":1}"#, Unmet),
    ("level", r#"[{"options":{"level":1}}]"#, Unmet),
    ("id", r#"[{"id":12}]"#, Unmet),
    ("id", r#"[["id",12]]"#, Unmet),
    ("id", r#"{"body":{"id":12}}"#, Unmet),
    ("no uid", r#"{"id":12,"uid":null}"#, Unmet),
    ("no uid", r#"{"id":12,"uid":""}"#, Unmet),
    ("no uid", r#"{"id":12,"uid":"u"}"#, Unmet),
    ("no name", r#"{}"#, Met),
    ("no name", r#"{"options":{}}"#, Met),
    ("no name", r#"{"options":{"inner":{"name":"n"}}}"#, Met),
    ("no name", r#"{"options":{"name":"n"}}"#, Unmet),
    ("no name", r#"{"options":{"NAME":"n"}}"#, Unmet),
    ("no name", r#"{"Options":{"name":"n"}}"#, Unmet),
    ("no name", r#"{"options":null}"#, Unmet),
    ("no name", r#"{"options":"n"}"#, Unmet),
    ("no name", r#"{"options":7}"#, Unmet),
    ("no name", r#"{"options":true}"#, Unmet),
    ("no name", r#"{"options":""}"#, Unmet),
    ("no name", r#"{"options":[]}"#, Unmet),
    ("no name", r#"{"options":["n"]}"#, Unmet),
    ("no name", r#"{"options":[{"name":"n"}]}"#, Unmet),
    ("no name", r#"{"options":[["name","n"]]}"#, Unmet),
    ("no name", r#"[{"options":{"name":"n"}}]"#, Unmet),
    ("no name", r#"[]"#, Unmet),
    ("no name", r#"null"#, Unmet),
    ("one", r#"{"ids":[12]}"#, Met),
    ("one", r#"{"ids":12}"#, Unmet),
    ("one", r#"{"ids":"12"}"#, Unmet),
    ("one", r#"{"ids":[12,13]}"#, Unmet),
    ("one", r#"{"ids":[[12]]}"#, Unmet),
    ("one", r#"{"ids":[12,null]}"#, Unmet),
    ("one", r#"{"ids":{"0":12}}"#, Unmet),
    ("one", r#"{"ids":[]}"#, Unmet),
    ("no ids", r#"{"ids":[]}"#, Met),
    ("no ids", r#"{}"#, Met),
    ("no ids", r#"{"ids":12}"#, Unmet),
    ("no ids", r#"{"ids":"12,13"}"#, Unmet),
    ("no ids", r#"{"ids":{}}"#, Unmet),
    ("no ids", r#"{"ids":null}"#, Unmet),
    ("no ids", r#"{"ids":[null]}"#, Unmet),
    ("path", r#"{"path":"/opt/x"}"#, Met),
    ("path", r#"{"path":"\/opt\/x"}"#, Met),
    ("path", r#"{"path":"/opt"}"#, Unmet),
    ("path", r#"{"path":" /opt/x"}"#, Unmet),
    ("path", r#"{"path":"/OPT/x"}"#, Unmet),
    ("path", r#"{"path":["/opt/x"]}"#, Unmet),
    ("path", r#"{"path":null}"#, Unmet),
    ("reason", r#"{"reason":"because"}"#, Met),
    ("reason", r#"{"reason":7}"#, Met),
    ("reason", r#"{"reason":false}"#, Met),
    ("reason", r#"{"reason":null}"#, Unmet),
    ("reason", r#"{"reason":""}"#, Unmet),
    ("reason", r#"{"reason":" "}"#, Unmet),
    ("reason", r#"{"reason":"\t\u2003"}"#, Unmet),
    ("reason", r#"{"reason":"null"}"#, Unmet),
    ("reason", r#"{"reason":[]}"#, Unmet),
    ("reason", r#"{"reason":[null]}"#, Unmet),
    ("reason", r#"{"reason":[""]}"#, Unmet),
    ("reason", r#"{"Reason":"because"}"#, Unmet),
    ("field", r#"{"fields":[["a","x"]]}"#, Unmet),
    ("field", r#"{"fields":{"a":["x"]}}"#, Unmet),
];

const GRAMMAR: &[Text] = &[
    ("id", "", EMPTY),
    ("id", " \n ", EMPTY),
    ("id", r#"{"id":12"#, SHORT),
    ("id", r#"{"id":12,"#, SHORT),
    ("id", r#"{"id":"#, SHORT),
    ("id", r#"{"id"#, SHORT),
    ("id", r#"{"id":"12\"#, SHORT),
    ("id", r#"[{"id":12}"#, SHORT),
    ("id", r#"{"id":12}}"#, AFTER),
    ("id", r#"{"id":12}]"#, AFTER),
    ("id", r#"{"id":12}{"id":13}"#, AFTER),
    ("id", "{\"id\":12}\n{\"id\":13}\n", AFTER),
    ("id", r#"{"id":12},{"id":13}"#, AFTER),
    ("id", r#"{"id":12} x"#, AFTER),
    ("id", r#"{"id":12};"#, AFTER),
    ("id", "{\"id\":12}\u{c}", AFTER),
    ("id", "{\"id\":12}\u{a0}", AFTER),
    ("id", "{\"id\":12}\u{feff}", AFTER),
    ("id", "{\"id\":12}\u{1a}", AFTER),
    ("id", r#"{"id":12}// x"#, COMMENT),
    ("id", r#"{"id":12}# x"#, COMMENT),
    ("id", r#"/* x */{"id":12}"#, COMMENT),
    ("id", "// x\n{\"id\":12}", COMMENT),
    ("id", "# x\n{\"id\":12}", COMMENT),
    ("id", r#"{/* "id":13, */"id":12}"#, COMMENT),
    ("id", "{\"id\":12//,\n,\"id\":13}", COMMENT),
    ("id", r#"{"id":/* 13 */12}"#, COMMENT),
    ("id", r#"{"id"/**/:12}"#, COMMENT),
    ("id", "{\"id\":12 #\n}", COMMENT),
    ("id", r#"{"id":12,}"#, COMMA),
    ("id", r#"{"id":12,,"x":1}"#, COMMA),
    ("id", r#"{"id":12,"x":[1,]}"#, COMMA),
    ("id", r#"{"id":12,"x":[1,,2]}"#, COMMA),
    ("id", r#"{,"id":12}"#, SYNTAX),
    ("id", r#"{"id":12,"x":[,1]}"#, SYNTAX),
    ("id", r#"{"id":,"x":12}"#, SYNTAX),
    ("id", r#"{'id':12}"#, SYNTAX),
    ("id", r#"{id:12}"#, SYNTAX),
    ("id", r#"{`id`:12}"#, SYNTAX),
    ("id", r#"{“id”:12}"#, SYNTAX),
    ("id", r#"{"id"=12}"#, SYNTAX),
    ("id", r#"{"id"=>12}"#, SYNTAX),
    ("id", r#"{"id":=12}"#, SYNTAX),
    ("id", r#"{"id":12;"x":1}"#, SYNTAX),
    ("id", r#"{"id":12 "x":1}"#, SYNTAX),
    ("id", r#"{"id" 12}"#, SYNTAX),
    ("id", r#"{"id"}"#, SYNTAX),
    ("id", r#"{12:12,"id":12}"#, SYNTAX),
    ("id", r#"{null:1,"id":12}"#, SYNTAX),
    ("id", r#"("id":12)"#, SYNTAX),
    ("id", r#"{"id":12]"#, SYNTAX),
    ("id", r#"["id":12]"#, SYNTAX),
    ("id", r#"{"id":undefined}"#, SYNTAX),
    ("id", r#"{"id":12,"x":nil}"#, SYNTAX),
    ("id", r#"{"id":12,"x":'a'}"#, SYNTAX),
    ("id", r#"{"id":12,"x":a}"#, SYNTAX),
    ("id", r#"{"id":12,"x":tru}"#, SYNTAX),
    ("id", r#"{"id":12,"x":nulll}"#, SYNTAX),
    ("id", r#"{"id":12,"x":new Date(0)}"#, SYNTAX),
    ("id", ")]}',\n{\"id\":12}", SYNTAX),
    ("id", "while(1);{\"id\":12}", SYNTAX),
    ("id", "id=12", SYNTAX),
    ("id", "<id>12</id>", SYNTAX),
    ("id", "---\nid: 12\n", NUMBER),
    ("id", "{\u{a0}\"id\":12}", SYNTAX),
    ("id", "{\u{b}\"id\":12}", SYNTAX),
    ("id", "{\u{c}\"id\":12}", SYNTAX),
    ("id", "{\u{1}\"id\":12}", SYNTAX),
    ("id", "{\u{2028}\"id\":12}", SYNTAX),
    ("id", "\u{1e}{\"id\":12}\n", SYNTAX),
    ("id", "{\u{85}\"id\":12}", SYNTAX),
];

const STRINGS: &[Text] = &[
    ("id", "{\"id\":12,\"x\":\"a\nb\"}", CONTROL),
    ("id", "{\"id\":12,\"x\":\"a\tb\"}", CONTROL),
    ("id", "{\"id\":12,\"x\":\"a\u{1f}b\"}", CONTROL),
    ("id", "{\"id\":12,\"a\u{8}b\":1}", CONTROL),
    ("id", "{\"id\":12,\"x\":\"a\\\nb\"}", ESCAPE),
    ("id", r#"{"id":12,"x":"\a"}"#, ESCAPE),
    ("id", r#"{"id":12,"x":"\'"}"#, ESCAPE),
    ("id", r#"{"id":12,"x":"\x41"}"#, ESCAPE),
    ("id", r#"{"id":12,"x":"\0"}"#, ESCAPE),
    ("id", r#"{"id":12,"x":"\U00000041"}"#, ESCAPE),
    ("id", r#"{"id":12,"x":"\u{41}"}"#, ESCAPE),
    ("id", r#"{"id":12,"x":"\u41"}"#, ESCAPE),
    ("id", r#"{"id":12,"x":"\u+041"}"#, ESCAPE),
    ("id", r#"{"id":12,"x":"\u 041"}"#, ESCAPE),
    ("id", r#"{"\id":12}"#, ESCAPE),
    ("id", r#"{"id":12,"x":"\ud800"}"#, SURROGATE),
    ("id", r#"{"id":12,"x":"\udc00"}"#, SURROGATE),
    ("id", r#"{"id":12,"x":"\ud800\u0041"}"#, SURROGATE),
    ("id", r#"{"id":12,"x":"\ud800\ud800"}"#, SURROGATE),
    ("id", r#"{"id":12,"x":"\udc00\ud800"}"#, SURROGATE),
    ("id", r#"{"id":12,"x":"\ud800A"}"#, SURROGATE),
    ("id", r#"{"id":12,"x":"\ud800\n"}"#, SURROGATE),
    ("id", r#"{"id":12,"\ud800":1,"\ud801":2}"#, SURROGATE),
    ("id", r#"{"id":12,"x":"\uDBFF\uDFFF"}"#, Met),
    ("id", r#"{"id":12,"x":"\ufeff\uffff"}"#, Met),
    ("id", "{\"id\":12,\"x\":\"\u{2028}\u{2029}\u{7f}\u{85}\"}", Met),
    ("id", r#"{"id":12,"x":"\u0000"}"#, NUL),
    ("id", r#"{"id":12,"id\u0000":13}"#, NUL),
    ("no uid", r#"{"id":12,"uid\u0000":"u"}"#, NUL),
    ("script", r#"{"id":12,"runAs":"SYSTEM\u0000"}"#, NUL),
    ("script", r#"{"id":12,"runAs":"SYSTEM\u200b"}"#, Unmet),
    ("script", r#"{"id":12,"runAs":"SYSTEＭ"}"#, Unmet),
    ("id", r#"{"id":12,"x":"// # /* ,] } ' NaN"}"#, Met),
];

const BYTES: &[Raw] = &[
    ("id", b"\xef\xbb\xbf{\"id\":12}", MARK),
    ("id", b"\xef\xbb\xbf\xef\xbb\xbf{\"id\":12}", MARK),
    ("id", b"\xfe\xff\x7b\x22", MARK),
    ("id", b"\xff\xfe{\"id\":12}", MARK),
    ("id", b" \xef\xbb\xbf{\"id\":12}", SYNTAX),
    ("id", b"{\xef\xbb\xbf\"id\":12}", SYNTAX),
    ("id", b"\xef\xbb{\"id\":12}", UTF8),
    ("id", b"{\"id\":12,\"x\":\"\xff\"}", UTF8),
    ("id", b"{\"id\":12,\"x\":\"\xc0\x80\"}", UTF8),
    ("id", b"{\"id\":12,\"x\":\"\xc0\xa2,\xc0\xa2id\xc0\xa2:13\"}", UTF8),
    ("id", b"{\"id\":12,\"\xc1\xa9d\":13}", UTF8),
    ("id", b"{\"id\":12,\"x\":\"\xed\xa0\x80\"}", UTF8),
    ("id", b"{\"id\":12,\"x\":\"\xed\xa0\xbd\xed\xb8\x80\"}", UTF8),
    ("id", b"{\"id\":12,\"x\":\"\xf4\x90\x80\x80\"}", UTF8),
    ("id", b"{\"id\":12,\"x\":\"\xf8\x88\x80\x80\x80\"}", UTF8),
    ("id", b"{\"id\":12,\"x\":\"\xe2\x82\"}", UTF8),
    ("id", b"{\"id\":12,\"x\":\"\xe2\"}", UTF8),
    ("id", b"{\"id\":12,\"x\":\"\xe4\"}", UTF8),
    ("id", b"{\"id\":12,\"x\":\"\x80\"}", UTF8),
    ("id", b"\0{\"id\":12}", NUL),
    ("id", b"{\"id\":12}\0", NUL),
    ("id", b"{\"id\":12}\0{\"id\":13}", NUL),
    ("id", b"{\"id\":12,\"x\":\"\0\"}", NUL),
    ("id", b"{\"id\0\":12}", NUL),
    ("id", b"+AHs-id", NUMBER),
    ("id", b"\x1f\x8b\x08\x01", UTF8),
    ("whole", b"1\x002\x00", NUL),
];

/// All of them.
pub(crate) fn rows() -> Vec<Row> {
    let texts = [PLAIN, DUPLICATES, CASE, NUMBERS, TYPES, GRAMMAR, STRINGS].concat();
    let texts = texts.iter().map(|(rule, body, outcome)| row(rule, body.as_bytes(), *outcome));
    let bytes = BYTES.iter().map(|(rule, body, outcome)| row(rule, body, *outcome));
    texts.chain(bytes).chain(encoded()).chain(deep()).collect()
}

fn row(rule: &'static str, body: &[u8], outcome: Outcome) -> Row {
    Row { rule, body: body.to_vec(), outcome }
}

/// In the encodings that Jackson finds out by itself.
fn encoded() -> impl Iterator<Item = Row> {
    const BODY: &str = r#"{"id":12}"#;
    let wide = |widen: fn(u16) -> [u8; 2]| BODY.encode_utf16().flat_map(widen).collect::<Vec<u8>>();
    let wider = |widen: fn(u32) -> [u8; 4]| BODY.chars().flat_map(|letter| widen(letter.into())).collect::<Vec<u8>>();
    let all = [wide(u16::to_le_bytes), wide(u16::to_be_bytes), wider(u32::to_le_bytes), wider(u32::to_be_bytes)];
    let marks = [&b"\xff\xfe"[..], b"\xfe\xff", b"\xff\xfe\0\0", b"\0\0\xfe\xff"];
    let marked = |(mark, body): (&[u8], &Vec<u8>)| row("id", &[mark, body].concat(), NUL);
    let marked: Vec<_> = marks.into_iter().zip(&all).map(marked).collect();
    let plain: Vec<_> = all.iter().map(|body| row("id", body, NUL)).collect();
    plain.into_iter().chain(marked)
}

/// As deep as any reader goes, and deeper; and duplicate keys all the way down.
fn deep() -> impl Iterator<Item = Row> {
    let arrays = |depth: usize| format!("{{\"id\":12,\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{{\"id\":12,\"x\":{}1{}}}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let depths = [(1, Met), (8, Met), (63, Met), (64, DEEP), (255, DEEP), (1000, DEEP), (30_000, DEEP)];
    let nested = depths.into_iter().flat_map(move |(depth, outcome)| {
        [arrays(depth), objects(depth)].map(|body| row("id", body.as_bytes(), outcome))
    });
    let duplicates = [0, 1, 2, 5, 20, 62].into_iter().flat_map(|depth| {
        let inside = |pair: &str| format!("{{\"id\":12,\"x\":{}{{{pair}}}{}}}", "[".repeat(depth), "]".repeat(depth));
        [("\"a\":1,\"a\":2", TWICE), ("\"a\":1,\"\\u0061\":2", TWICE), ("\"a\":1,\"A\":2", ALIKE)]
            .map(|(pair, outcome)| row("id", inside(pair).as_bytes(), outcome))
    });
    let open = [("[".repeat(100_000), DEEP), ("{\"a\":".repeat(100_000), DEEP)];
    let open = open.into_iter().map(|(body, outcome)| row("id", body.as_bytes(), outcome));
    nested.chain(duplicates).chain(open)
}
