//! The socket by which operators with a shell speak to the node.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;

use slog::warn;
use tokio::net::UnixListener;

use crate::admin::{self, Admin};
use crate::store::Layout;

/// Answers whoever connects, from now on. A node without the socket does all else.
pub(super) fn listen(layout: &Layout, admin: Admin) {
    match bind(layout) {
        Ok(listener) => drop(actix_rt::spawn(admin::serve(listener, admin))),
        Err(error) => warn!(admin.log, "`segvault admin` will not reach this node"; "error" => %error,
            "path" => %layout.admin_socket().display()),
    }
}

/// The lock of the directory is ours: what lies there is of a process that has ended.
fn bind(layout: &Layout) -> io::Result<UnixListener> {
    let path = layout.admin_socket();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    // Who connects is looked at as well.
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}
