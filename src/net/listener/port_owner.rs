//! Who has a port that we want, as far as the system tells us.

/// Such as `nginx (pid 812)`; `None` if it cannot be found out.
#[cfg(target_os = "linux")]
pub fn occupant(port: u16) -> Option<String> {
    use std::fs::{read_dir, read_link, read_to_string};
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| read_to_string(table).unwrap_or_default());
    let (inode, uid, _) = tables.iter().flat_map(|table| table.lines()).find_map(|line| listening(line, port))?;
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
    use std::fs::{read_dir, read_link, read_to_string};
    let Ok(files) = read_dir("/proc/self/fd") else { return false };
    let own: Vec<_> =
        files.filter_map(|file| read_link(file.ok()?.path()).ok()?.into_os_string().into_string().ok()).collect();
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| read_to_string(table).unwrap_or_default());
    let all = tables.iter().flat_map(|table| table.lines()).filter_map(|line| listening(line, port));
    let (ours, others): (Vec<_>, Vec<_>) = all.partition(|(inode, ..)| own.contains(&format!("socket:[{inode}]")));
    others.iter().any(|(.., address)| ours.iter().any(|(.., own)| own == address))
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

/// The inode, the user and the address of a socket that listens on this port (proc_net_tcp(5)).
#[cfg(any(target_os = "linux", test))]
fn listening(line: &str, port: u16) -> Option<(&str, &str, &str)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, own) = fields.get(1)?.rsplit_once(':')?;
    let listens = *fields.get(3)? == "0A" && u16::from_str_radix(own, 16) == Ok(port);
    listens.then_some((*fields.get(9)?, *fields.get(7)?, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occupant_is_read_from_the_table_of_sockets() {
        let line = |state| {
            format!(
                "   0: 0100007F:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0"
            )
        };
        assert_eq!(listening(&line("0A"), 8080), Some(("4711", "1000", "0100007F")));
        assert_eq!((listening(&line("01"), 8080), listening(&line("0A"), 8081)), (None, None));
        assert_eq!(listening("  sl  local_address rem_address   st tx_queue", 8080), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn occupant_of_a_port_of_this_process_is_this_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let found = occupant(socket.local_addr().expect("an address").port());
        assert_eq!(found.as_deref(), Some("another listener of this process"));
    }
}
