//! `higuma generate user-token` and `higuma token`.

use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Session;
use crate::args::{TokenArgs, TokenCommand, UserTokenArgs};
use crate::client::Request;
use crate::client::trust::Token;
use crate::failure::Failure;
use crate::output::{note, print, table};

const KEYS: [&str; 3] = ["tokens", "user", "signing-keys"];

pub(crate) async fn generate_user_token(args: &UserTokenArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection)?;
    let body = json!({"name": args.name, "groups": args.group, "validFor": args.valid_for});
    let answer = session.client.send(&Request::post(&["tokens", "user"], body)).await?.body;
    let text = answer.as_str().unwrap_or_default().to_owned();
    let token = Token::try_from(text.clone())
        .map_err(|why| Failure::refused(format!("what the server answered is no token: {why}")))?;
    print(text)?;
    let (id, until) = (claim(&token, "jti")?, token.claims().and_then(|claims| ends(&claims)));
    let until = until.map_or_else(String::new, |until| format!(", good until {until}"));
    note(format!("token {id}{until}; `higuma token revoke {id}` ends it sooner"));
    Ok(())
}

pub(crate) async fn token(args: &TokenArgs) -> Result<(), Failure> {
    match &args.command {
        TokenCommand::Revoke { id, file, connection } => {
            let mut ids = id.clone();
            if let Some(file) = file {
                let token = Token::read(file).map_err(Failure::usage)?;
                ids.push(claim(&token, "jti")?);
            }
            let session = Session::open(connection)?;
            for id in ids {
                let path = ["tokens", "user", "revocations", &id];
                session.client.send(&Request::to(Method::PUT, &path)).await?;
                print(format!("token {id} is revoked"))?;
            }
            Ok(())
        }
        TokenCommand::Keys { connection } => {
            let keys = Session::open(connection)?.client.send(&Request::get(&KEYS)).await?.body;
            keys_table(&keys)
        }
        TokenCommand::RotateKey { connection } => {
            let session = Session::open(connection)?;
            let made = session.client.send(&Request::to(Method::POST, &KEYS)).await?.body;
            let kid = made["kid"].as_str().unwrap_or_default();
            print(format!(
                "key {kid} signs from now on; tokens of older keys stay good until those are deleted"
            ))
        }
        TokenCommand::DeleteKey { key, connection } => {
            let session = Session::open(connection)?;
            let path = [KEYS[0], KEYS[1], KEYS[2], key];
            session.client.send(&Request::to(Method::DELETE, &path)).await?;
            print(format!("key {key} is deleted: the tokens that it signed are worth nothing"))
        }
    }
}

fn keys_table(keys: &Value) -> Result<(), Failure> {
    let keys = keys["items"].as_array().map_or(&[][..], Vec::as_slice);
    if keys.is_empty() {
        note("there are none: the first is made with the first token");
        return Ok(());
    }
    let row = |key: &Value| {
        let signs = if key["signs"] == true { "yes" } else { "no" };
        vec![key["kid"].as_str().unwrap_or_default().to_owned(), signs.to_owned()]
    };
    print(table(&["KEY", "SIGNS"], &keys.iter().map(row).collect::<Vec<_>>()))
}

fn claim(token: &Token, name: &str) -> Result<String, Failure> {
    let claims = token.claims();
    let said = claims.as_ref().and_then(|claims| claims[name].as_str());
    said.map(str::to_owned).ok_or_else(|| Failure::usage("this is no user token: it has no id"))
}

fn ends(claims: &Value) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp(claims["exp"].as_i64()?).ok()?;
    at.format(&Rfc3339).ok()
}
