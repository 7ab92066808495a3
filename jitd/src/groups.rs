//! Unix groups that grants name: numbers by name, from this host's own file and nowhere else. What a directory says could change under a
//! login, and be slow; and who keeps it could make any name any number.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jit_grant::GroupName;

/// Of a larger file nothing is taken.
const LARGEST_FILE: u64 = 1024 * 1024;

/// The groups of this host.
#[derive(Debug, Clone)]
pub struct LocalGroups(PathBuf);

impl Default for LocalGroups {
    fn default() -> Self {
        Self::of(Path::new("/etc/group"))
    }
}

impl LocalGroups {
    /// With this file in the place of /etc/group.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// What the file says now.
    #[must_use]
    pub fn now(&self) -> Known {
        Known(read(&self.0).unwrap_or_else(|error| {
            tracing::warn!("{}: {error}", self.0.display());
            String::new()
        }))
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    let length = file.take(LARGEST_FILE + 1).read_to_string(&mut text)?;
    if u64::try_from(length).is_ok_and(|length| length > LARGEST_FILE) {
        return Err(io::Error::other("larger than 1 MiB"));
    }
    Ok(text)
}

/// The groups as they were read.
#[derive(Debug)]
pub struct Known(String);

impl Known {
    /// The number of a group that may be given: of several entries that of the first. None for root's, by whatever name.
    #[must_use]
    pub fn gid(&self, name: &GroupName) -> Option<u32> {
        let entry = |line: &str| {
            let mut fields = line.split(':');
            let found = fields.next()? == name.as_str();
            found.then(|| fields.nth(1)?.parse::<u32>().ok())
        };
        // A first entry that is damaged is that group's all the same: no later one stands in for it.
        let gid = self.0.lines().find_map(entry).flatten();
        gid.filter(|gid| ![0, u32::MAX].contains(gid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gid(text: &str, name: &str) -> Option<u32> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("group");
        std::fs::write(&path, text).unwrap();
        LocalGroups::of(&path).now().gid(&name.parse().unwrap())
    }

    #[test]
    fn a_group_has_the_number_of_its_first_entry() {
        let text = "root:x:0:\nadm:x:4:syslog,ann\nadm:x:5:\nwww-data:x:33:\n";
        assert_eq!(gid(text, "adm"), Some(4));
        assert_eq!(gid(text, "www-data"), Some(33));
        assert_eq!(gid(text, "ad"), None);
        assert_eq!(gid(text, "syslog"), None);
    }

    #[test]
    fn root_s_group_is_never_given_by_whatever_name_nor_is_a_damaged_one() {
        let text = "wheel:x:0:\nnone:x:4294967295:\nodd:x:-1:\nodd:x:7:\nshort:x\nlong:x:99999999999:\n+nis:::\n";
        for name in ["wheel", "none", "odd", "short", "long", "nis"] {
            assert_eq!(gid(text, name), None, "{name}");
        }
    }

    #[test]
    fn without_a_file_or_with_one_that_is_too_large_there_are_no_groups() {
        let missing = LocalGroups::of(Path::new("/nonexistent/group")).now();
        assert_eq!(missing.gid(&"adm".parse().unwrap()), None);
        let large = format!("adm:x:4:\n{}", "#".repeat(1024 * 1024));
        assert_eq!(gid(&large, "adm"), None);
    }
}
