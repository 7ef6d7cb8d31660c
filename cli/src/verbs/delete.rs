//! `higuma delete`.

use higuma_model::{Key, Scope};
use reqwest::{Method, StatusCode};

use super::{Session, at_version, shown};
use crate::args::DeleteArgs;
use crate::client::{CallError, Request};
use crate::failure::Failure;
use crate::output::print;

pub(crate) async fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection)?;
    let mesh = match args.kind.scope() {
        Scope::Global => "",
        Scope::Mesh => args.mesh.as_deref().unwrap_or(&session.mesh),
    };
    let key = Key::new(args.kind, mesh, &args.name);
    let request = Request::one(Method::DELETE, &key).reason(args.why.reason.clone());
    match session.client.send(&request.once()?).await {
        Ok(answer) => print(format!("deleted {}{}", shown(&key), at_version(answer.version))),
        Err(CallError::Refused(why)) if why.status == StatusCode::NOT_FOUND => {
            if why.repeated {
                // The attempt whose fate was unknown has done it, or it never was there.
                return print(format!("deleted {} (it is gone)", shown(&key)));
            }
            Err(Failure::refused(format!("there is no {}", shown(&key))))
        }
        Err(error) => Err(error.into()),
    }
}
