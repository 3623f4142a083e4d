//! Who has a port that we want, as far as the system tells us.

/// Such as `nginx (pid 812)`; `None` if it cannot be found out.
#[cfg(target_os = "linux")]
pub fn occupant(port: u16) -> Option<String> {
    use std::fs::{read_dir, read_link, read_to_string};
    let ListeningRow { inode, uid, .. } = all_listening(port).next()?;
    let socket = std::path::PathBuf::from(format!("socket:[{inode}]"));
    let processes = read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    for pid in processes.filter(|name| name.bytes().all(|digit| digit.is_ascii_digit())) {
        // The files of other users' processes are closed to us.
        let Ok(mut files) = read_dir(format!("/proc/{pid}/fd")) else { continue };
        if files.any(|file| file.is_ok_and(|file| read_link(file.path()).is_ok_and(|target| target == socket))) {
            let name = read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let own = pid.parse() == Ok(std::process::id());
            let other = || format!("{} (pid {pid})", name.trim());
            return Some(if own { "another listener of this process".to_owned() } else { other() });
        }
    }
    Some(format!("a process of the user with id {uid}"))
}

/// Whether another process listens on exactly an address and port that this process listens on.
#[cfg(target_os = "linux")]
pub(super) fn has_company(port: u16) -> bool {
    use std::fs::{read_dir, read_link};
    let Ok(files) = read_dir("/proc/self/fd") else { return false };
    let own: Vec<_> =
        files.filter_map(|file| read_link(file.ok()?.path()).ok()?.into_os_string().into_string().ok()).collect();
    let (ours, others): (Vec<_>, Vec<_>) =
        all_listening(port).partition(|socket| own.contains(&format!("socket:[{}]", socket.inode)));
    others.iter().any(|other| ours.iter().any(|own| own.address == other.address))
}

/// Only Linux lets others join.
#[cfg(not(target_os = "linux"))]
pub(super) fn has_company(_: u16) -> bool {
    false
}

/// Other systems tell it by programs only.
#[cfg(not(target_os = "linux"))]
pub fn occupant(_: u16) -> Option<String> {
    None
}

/// A socket that listens.
#[cfg(any(target_os = "linux", test))]
#[derive(Debug, PartialEq, Eq)]
struct ListeningRow {
    inode: String,
    uid: String,
    address: String,
}

/// The sockets that listen on a port, of either family.
#[cfg(target_os = "linux")]
fn all_listening(port: u16) -> impl Iterator<Item = ListeningRow> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|table| std::fs::File::open(table).ok());
    tables.flat_map(move |table| on_port(std::io::BufReader::new(table), port))
}

/// Reads a table of sockets (proc_net_tcp(5)). The kernel lists those that listen first; the connections after them can
/// be hundreds of thousands, and are not read.
#[cfg(any(target_os = "linux", test))]
fn on_port(table: impl std::io::BufRead, port: u16) -> impl Iterator<Item = ListeningRow> {
    let rows = table.lines().skip(1).map_while(Result::ok).map_while(|row| {
        let fields: Vec<&str> = row.split_ascii_whitespace().collect();
        let (address, own_port) = fields.get(1)?.rsplit_once(':')?;
        let socket = ListeningRow {
            inode: (*fields.get(9)?).to_owned(),
            uid: (*fields.get(7)?).to_owned(),
            address: address.to_owned(),
        };
        (*fields.get(3)? == "0A").then(|| (u16::from_str_radix(own_port, 16), socket))
    });
    rows.filter_map(move |(own_port, socket)| (own_port == Ok(port)).then_some(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_sockets_is_read_up_to_the_first_connection() {
        let row = |port, state, inode| {
            format!(
                "   0: 0100007F:{port} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000        0 {inode} 1 0000000000000000 100 0 0 10 0"
            )
        };
        let heading = "  sl  local_address rem_address   st tx_queue".to_owned();
        let rows = [heading, row("1F91", "0A", 1), row("1F90", "0A", 2), row("1F90", "01", 3), row("1F90", "0A", 4)];
        let found: Vec<_> = on_port(rows.join("\n").as_bytes(), 8080).collect();
        let [inode, uid, address] = ["2", "1000", "0100007F"].map(str::to_owned);
        assert_eq!(found, [ListeningRow { inode, uid, address }]);
        assert_eq!(on_port(&b""[..], 8080).next(), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn occupant_of_a_port_of_this_process_is_this_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let found = occupant(socket.local_addr().expect("an address").port());
        assert_eq!(found.as_deref(), Some("another listener of this process"));
    }
}
