//! A PAM application, as small as one can be: sshd's and sudo's part in the tests and in the timing.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

/// PAM's return codes that are looked at.
pub const PAM_SUCCESS: c_int = 0;
const PAM_CONV_ERR: c_int = 19;
const PAM_TTY: c_int = 3;
const PAM_RHOST: c_int = 4;

#[repr(C)]
struct Message {
    style: c_int,
    text: *const c_char,
}

#[repr(C)]
struct Response {
    text: *mut c_char,
    code: c_int,
}

type Converse =
    extern "C" fn(c_int, *const *const Message, *mut *mut Response, *mut c_void) -> c_int;

#[repr(C)]
struct Conversation {
    converse: Converse,
    data: *mut c_void,
}

#[link(name = "pam")]
unsafe extern "C" {
    fn pam_start_confdir(
        service: *const c_char,
        user: *const c_char,
        conversation: *const Conversation,
        folder: *const c_char,
        handle: *mut *mut c_void,
    ) -> c_int;
    fn pam_end(handle: *mut c_void, status: c_int) -> c_int;
    fn pam_acct_mgmt(handle: *mut c_void, flags: c_int) -> c_int;
    fn pam_open_session(handle: *mut c_void, flags: c_int) -> c_int;
    fn pam_close_session(handle: *mut c_void, flags: c_int) -> c_int;
    fn pam_authenticate(handle: *mut c_void, flags: c_int) -> c_int;
    fn pam_setcred(handle: *mut c_void, flags: c_int) -> c_int;
    fn pam_set_item(handle: *mut c_void, item: c_int, value: *const c_void) -> c_int;
    fn pam_putenv(handle: *mut c_void, pair: *const c_char) -> c_int;
}

/// What the person at the terminal was shown, and how the application answers.
#[derive(Default)]
struct Terminal {
    shown: RefCell<Vec<(c_int, String)>>,
    broken: bool,
}

/// One PAM transaction.
pub struct Application {
    handle: *mut c_void,
    // Boxed: libpam keeps its address.
    terminal: Box<Terminal>,
}

/// The calls of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "the timing needs the account phase only")]
pub enum Request {
    Authenticate,
    Credentials,
    Account,
    Open,
    Close,
}

impl Application {
    /// pam_start_confdir(3): `service` is a file in `folder`.
    pub fn start(folder: &Path, service: &str, user: &str) -> Result<Self, c_int> {
        Self::begin(folder, service, user, Terminal::default())
    }

    /// As [`Self::start`], with a terminal that shows nothing and answers every message with an error.
    #[allow(dead_code, reason = "not every user of this file needs it")]
    pub fn start_without_terminal(folder: &Path, service: &str, user: &str) -> Result<Self, c_int> {
        Self::begin(
            folder,
            service,
            user,
            Terminal {
                broken: true,
                ..Terminal::default()
            },
        )
    }

    fn begin(folder: &Path, service: &str, user: &str, terminal: Terminal) -> Result<Self, c_int> {
        let terminal = Box::new(terminal);
        let conversation = Conversation {
            converse,
            data: ptr::from_ref(&*terminal).cast_mut().cast(),
        };
        let (service, user) = (text(service), text(user));
        let folder = text(&folder.to_string_lossy());
        let mut handle = ptr::null_mut();
        // SAFETY: all strings are NUL-terminated and live through the call, and so does `conversation`, which libpam
        // copies; the terminal that it points to lives as long as the handle, in the same struct.
        let code = unsafe {
            pam_start_confdir(
                service.as_ptr(),
                user.as_ptr(),
                &conversation,
                folder.as_ptr(),
                &mut handle,
            )
        };
        if code == PAM_SUCCESS {
            Ok(Self { handle, terminal })
        } else {
            Err(code)
        }
    }

    /// Makes one call and gives PAM's code for it.
    pub fn request(&mut self, request: Request, flags: c_int) -> c_int {
        // SAFETY: the handle is libpam's and not ended before we are dropped.
        unsafe {
            match request {
                Request::Authenticate => pam_authenticate(self.handle, flags),
                Request::Credentials => pam_setcred(self.handle, flags),
                Request::Account => pam_acct_mgmt(self.handle, flags),
                Request::Open => pam_open_session(self.handle, flags),
                Request::Close => pam_close_session(self.handle, flags),
            }
        }
    }

    /// Sets where the person comes from, as sshd does.
    #[allow(dead_code, reason = "not every user of this file needs it")]
    pub fn come_from(&mut self, rhost: &str, tty: &str) {
        for (item, value) in [(PAM_RHOST, rhost), (PAM_TTY, tty)] {
            let value = text(value);
            // SAFETY: the handle is valid; for these items the value is a NUL-terminated string, which libpam copies.
            let code = unsafe { pam_set_item(self.handle, item, value.as_ptr().cast()) };
            assert_eq!(code, PAM_SUCCESS);
        }
    }

    /// Sets a variable of the PAM environment: `NAME=value`.
    #[allow(dead_code, reason = "not every user of this file needs it")]
    pub fn put_variable(&mut self, pair: &str) {
        let pair = text(pair);
        // SAFETY: the handle is valid, the pair is a NUL-terminated string, which libpam copies.
        let code = unsafe { pam_putenv(self.handle, pair.as_ptr()) };
        assert_eq!(code, PAM_SUCCESS);
    }

    /// Messages shown so far, with their styles.
    #[allow(dead_code, reason = "not every user of this file needs it")]
    pub fn shown(&self) -> Vec<(c_int, String)> {
        self.terminal.shown.borrow().clone()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // SAFETY: started by us, ended once.
        unsafe { pam_end(self.handle, PAM_SUCCESS) };
    }
}

extern "C" fn converse(
    count: c_int,
    messages: *const *const Message,
    responses: *mut *mut Response,
    data: *mut c_void,
) -> c_int {
    // SAFETY: libpam hands back the pointer that we started with; the terminal outlives the handle.
    let terminal = unsafe { &*data.cast::<Terminal>() };
    if terminal.broken {
        return PAM_CONV_ERR;
    }
    let count = usize::try_from(count).unwrap_or(0);
    for index in 0..count {
        // SAFETY: pam_conv(3): an array of `count` pointers to messages with NUL-terminated texts.
        let (style, text) = unsafe {
            let message = &**messages.add(index);
            (message.style, CStr::from_ptr(message.text))
        };
        terminal
            .shown
            .borrow_mut()
            .push((style, text.to_string_lossy().into_owned()));
    }
    // SAFETY: the caller frees the array with free(3), as pam_conv(3) says; zeroes are valid responses.
    unsafe { *responses = libc::calloc(count, size_of::<Response>()).cast() };
    PAM_SUCCESS
}

fn text(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
