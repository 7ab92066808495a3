//! Unix accounts: names to uids and back, without ever letting a slow directory hold everybody up.
//!
//! Where `/etc/nsswitch.conf` asks the local files first, as it does on nearly every host, what /etc/passwd has is read right
//! here, for the price of a stat: that is what getpwnam(3) would answer. Everything else goes through getpwnam itself on a
//! thread of its own, a few at a time, each waited for only so long.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, getgrouplist};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

/// A directory that answers later than this has not answered. Well within what a PAM module waits for a decision.
pub const DIRECTORY_TIME: Duration = Duration::from_millis(1500);

/// So many look-ups may hang in a slow directory; further ones are refused at once.
const AT_A_TIME: usize = 8;

/// A passwd file larger than this is left to the C library.
const LARGEST_FILE: u64 = 1024 * 1024;

/// An entry of the passwd database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its name, as the database writes it.
    pub name: String,
    /// Its uid.
    pub uid: u32,
    /// Its home. Not known where an earlier jitd wrote it down.
    #[serde(default)]
    pub home: PathBuf,
}

/// Why there is no account to be had.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// No such entry.
    #[error("there is no such account")]
    Unknown,
    /// The directory (sss, ldap, …) did not answer in time, or too many look-ups wait for it.
    #[error("the directory of accounts did not answer in time")]
    Slow,
    /// The look-up failed.
    #[error("the account could not be looked up: {0}")]
    Failed(String),
}

/// Looks up accounts.
#[derive(Debug)]
pub struct Accounts {
    passwd: PathBuf,
    nsswitch: PathBuf,
    cache: Mutex<Cache>,
    waiting: Arc<Semaphore>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self::of(Path::new("/etc/passwd"), Path::new("/etc/nsswitch.conf"))
    }
}

impl Accounts {
    /// With these files in the place of /etc/passwd and /etc/nsswitch.conf.
    #[must_use]
    pub fn of(passwd: &Path, nsswitch: &Path) -> Self {
        Self {
            passwd: passwd.to_owned(),
            nsswitch: nsswitch.to_owned(),
            cache: Mutex::default(),
            waiting: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    /// The account that `name` leads to. Its own name may differ, where a directory folds case or knows aliases.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub async fn by_name(&self, name: &str) -> Result<Account, AccountError> {
        if let Some(account) = self.local(|account| account.name == name) {
            return Ok(account);
        }
        let name = name.to_owned();
        self.ask_for_account(move || User::from_name(&name)).await
    }

    /// The account that `uid` leads to: of several the first.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub async fn by_uid(&self, uid: u32) -> Result<Account, AccountError> {
        if let Some(account) = self.local(|account| account.uid == uid) {
            return Ok(account);
        }
        self.ask_for_account(move || User::from_uid(Uid::from_raw(uid)))
            .await
    }

    /// True where `gid` is among the groups that initgroups(3) gives to a process of `name`: its own one, and those that list it.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub async fn is_in(&self, name: &str, gid: u32) -> Result<bool, AccountError> {
        if self.own_group(name) == Some(gid) {
            return Ok(true);
        }
        let name = name.to_owned();
        self.ask_directory(move || {
            let Some(user) = User::from_name(&name)? else {
                return Ok(None);
            };
            let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
            let groups = getgrouplist(&name, user.gid)?;
            Ok(Some(groups.contains(&Gid::from_raw(gid))))
        })
        .await
    }

    /// The uid that /etc/passwd itself gives to `name`, whatever other sources say.
    #[must_use]
    pub fn in_passwd(&self, name: &str) -> Option<u32> {
        let cache = self.refreshed();
        let mut accounts = cache.entries.iter().map(|entry| &entry.account);
        let found = accounts.find(|account| account.name == name);
        found.map(|account| account.uid)
    }

    /// The first local entry that fits, where local files come first.
    fn local(&self, fits: impl Fn(&Account) -> bool) -> Option<Account> {
        let cache = self.refreshed();
        let found = cache.local(fits)?;
        Some(found.account.clone())
    }

    /// The number of the group that `name` has by /etc/passwd, where local files come first.
    fn own_group(&self, name: &str) -> Option<u32> {
        let cache = self.refreshed();
        cache.local(|account| account.name == name)?.gid
    }

    fn refreshed(&self) -> MutexGuard<'_, Cache> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.refresh(&self.passwd, &self.nsswitch);
        cache
    }

    async fn ask_for_account(
        &self,
        ask: impl FnOnce() -> nix::Result<Option<User>> + Send + 'static,
    ) -> Result<Account, AccountError> {
        let user = self.ask_directory(ask).await?;
        Ok(Account {
            name: user.name,
            uid: user.uid.as_raw(),
            home: user.dir,
        })
    }

    async fn ask_directory<T: Send + 'static>(
        &self,
        ask: impl FnOnce() -> nix::Result<Option<T>> + Send + 'static,
    ) -> Result<T, AccountError> {
        let permit = Arc::clone(&self.waiting)
            .try_acquire_owned()
            .map_err(|_| AccountError::Slow)?;
        let answer = tokio::task::spawn_blocking(move || {
            let answer = ask();
            drop(permit);
            answer
        });
        match tokio::time::timeout(DIRECTORY_TIME, answer).await {
            Err(_) => Err(AccountError::Slow),
            Ok(Err(_)) => Err(AccountError::Failed(
                "the look-up ended without an answer".to_owned(),
            )),
            Ok(Ok(Err(errno))) => Err(AccountError::Failed(errno.to_string())),
            Ok(Ok(Ok(None))) => Err(AccountError::Unknown),
            Ok(Ok(Ok(Some(answer)))) => Ok(answer),
        }
    }
}

/// What the local files said when they were last read.
#[derive(Debug, Default)]
struct Cache {
    passwd: Option<Version>,
    nsswitch: Option<Version>,
    files_first: bool,
    entries: Vec<Entry>,
}

/// A line of passwd.
#[derive(Debug)]
struct Entry {
    account: Account,
    /// The number of its own group.
    gid: Option<u32>,
}

/// Tells one content of a file from another. passwd is replaced by rename on every change (useradd, vipw), so the inode moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    changed: (i64, i64),
    length: u64,
}

impl Version {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
        })
    }
}

impl Cache {
    fn local(&self, fits: impl Fn(&Account) -> bool) -> Option<&Entry> {
        let mut entries = self.entries.iter().filter(|_| self.files_first);
        entries.find(|entry| fits(&entry.account))
    }

    fn refresh(&mut self, passwd: &Path, nsswitch: &Path) {
        let (passwd_now, nsswitch_now) = (Version::of(passwd).ok(), Version::of(nsswitch).ok());
        if (self.passwd, self.nsswitch) == (passwd_now, nsswitch_now) && passwd_now.is_some() {
            return;
        }
        (self.passwd, self.nsswitch) = (passwd_now, nsswitch_now);
        self.entries.clear();
        // Without an nsswitch.conf the C library asks the files first.
        self.files_first = fs::read_to_string(nsswitch)
            .map_or(nsswitch_now.is_none(), |text| asks_files_first(&text));
        let small = passwd_now.is_some_and(|version| version.length <= LARGEST_FILE);
        if small {
            let text = fs::read(passwd).unwrap_or_default();
            self.entries = text
                .split(|byte| *byte == b'\n')
                .filter_map(entry)
                .collect();
        }
    }
}

/// True where the `passwd:` line of nsswitch.conf(5) begins with `files` and says nothing about what to do when it succeeds.
fn asks_files_first(nsswitch: &str) -> bool {
    let Some(line) = nsswitch
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("passwd:"))
    else {
        return true;
    };
    let mut words = line.split_ascii_whitespace();
    words.next() == Some("files") && !words.next().is_some_and(|word| word.starts_with('['))
}

/// A line of passwd(5). Lines of the compat kind (`+`, `-`) and damaged ones are not the file's own accounts.
fn entry(line: &[u8]) -> Option<Entry> {
    let line = std::str::from_utf8(line).ok()?;
    let mut fields = line.split(':');
    let (name, _, uid) = (fields.next()?, fields.next()?, fields.next()?);
    let gid = fields.next().and_then(|gid| gid.parse().ok());
    let home = fields.nth(1).unwrap_or_default();
    let valid = !name.is_empty() && !name.starts_with(['+', '-', '#']);
    let account = Account {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        home: home.into(),
    };
    valid.then_some(Entry { account, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(passwd: &str, nsswitch: &str) -> (tempfile::TempDir, Accounts) {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (
            directory.path().join("passwd"),
            directory.path().join("nsswitch.conf"),
        );
        fs::write(&a, passwd).unwrap();
        fs::write(&b, nsswitch).unwrap();
        let accounts = Accounts::of(&a, &b);
        (directory, accounts)
    }

    const ADA: &str = "root:x:0:0::/root:/bin/sh\nada:x:4242:4242::/home/ada:/bin/sh\n+nis::::::\nlady:x:4242:1::/:/bin/sh\n";

    #[tokio::test]
    async fn local_accounts_are_found_by_name_and_by_uid() {
        let (_directory, accounts) = files(ADA, "passwd: files systemd\n");
        let ada = Account {
            name: "ada".into(),
            uid: 4242,
            home: "/home/ada".into(),
        };
        assert_eq!(accounts.by_name("ada").await.unwrap(), ada);
        assert_eq!(accounts.by_uid(4242).await.unwrap(), ada);
        assert_eq!(accounts.by_name("lady").await.unwrap().uid, 4242);
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again() {
        let (directory, accounts) = files(ADA, "passwd: files\n");
        assert!(accounts.by_name("ada").await.is_ok());
        let new = directory.path().join("new");
        fs::write(&new, "bob:x:4243:1::/:/bin/sh\n").unwrap();
        fs::rename(new, directory.path().join("passwd")).unwrap();
        assert!(matches!(
            accounts.by_name("ada").await,
            Err(AccountError::Unknown)
        ));
        assert_eq!(accounts.by_name("bob").await.unwrap().uid, 4243);
    }

    #[tokio::test]
    async fn where_files_do_not_come_first_the_c_library_is_asked() {
        let (_directory, accounts) = files(ADA, "passwd: sss files\n");
        assert!(matches!(
            accounts.by_name("ada").await,
            Err(AccountError::Unknown)
        ));
        assert_eq!(accounts.by_name("root").await.unwrap().uid, 0);
    }

    #[tokio::test]
    async fn an_account_is_in_its_own_group_and_in_those_that_list_it() {
        let accounts = Accounts::default();
        assert!(accounts.is_in("root", 0).await.unwrap());
        assert!(accounts.is_in("daemon", 1).await.unwrap());
        assert!(!accounts.is_in("daemon", 4).await.unwrap());
        let nobody = accounts.is_in("nobody-like-this", 4).await;
        assert!(matches!(nobody, Err(AccountError::Unknown)));
    }

    #[tokio::test]
    async fn a_directory_that_hangs_holds_up_nobody_whose_account_is_local() {
        let (_directory, accounts) = files(ADA, "passwd: files sss\n");
        let (release, hang) = std::sync::mpsc::channel::<()>();
        let hang = Arc::new(Mutex::new(hang));
        let hanging: Vec<_> = (0..AT_A_TIME)
            .map(|_| {
                let hang = Arc::clone(&hang);
                Box::pin(accounts.ask_for_account(move || {
                    let _ = hang.lock().map(|hang| hang.recv());
                    Ok(None)
                }))
            })
            .collect();
        let hanging = futures_util::future::join_all(hanging);
        tokio::pin!(hanging);
        assert!(futures_util::poll!(&mut hanging).is_pending());
        assert!(matches!(
            accounts.by_name("nobody-like-this").await,
            Err(AccountError::Slow)
        ));
        assert!(accounts.by_name("ada").await.is_ok());
        assert!(accounts.is_in("ada", 4242).await.unwrap());
        assert!(matches!(
            accounts.is_in("ada", 4).await,
            Err(AccountError::Slow)
        ));
        drop(release);
        assert!(hanging.await.iter().all(Result::is_err));
    }

    #[test]
    fn only_a_plain_files_first_line_is_taken_for_one() {
        for (text, first) in [
            ("passwd: files\n", true),
            ("passwd:files systemd", true),
            ("group: sss\n", true),
            ("passwd: sss files\n", false),
            ("passwd: files [SUCCESS=continue] sss\n", false),
            ("passwd: compat\n", false),
        ] {
            assert_eq!(asks_files_first(text), first, "{text}");
        }
    }
}
