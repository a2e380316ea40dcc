//! A server of the Model Context Protocol over standard input and output, for a model that needs credentials for what it
//! runs. It says what may be asked for, asks, puts what comes where programs find it, and gives it back. The value of a
//! secret is in no answer: answers are made of `text::Text` and names, which cannot hold one.
//!
//! What is put into a file or a variable can be read by whatever the model may run as the same user: it stays out of the
//! conversation unless a command brings it there. Only the proxy keeps a value from commands too.
//!
//! When the client goes, or a signal comes, everything is taken away and given back.
//!
//! - `form`: the tools, and what they take and give
//! - `slots`: files and variables, kept good while they are held
//! - `text`: words without secrets
//! - `words`: what is said of a credential, its use and its refusal

mod form;
mod slots;
mod text;
mod words;

use std::path::PathBuf;
use std::sync::Arc;

use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::{RequestContext, RoleServer, ServerInitializeError, serve_server};
use serde::Serialize;
use serde_json::{Map, Value};

use super::wallet::Wallet;
use super::want::{Roles, Want};
use crate::client::fault::Fault;
use crate::statement::issue::Purpose;
use crate::time::Seconds;
use form::{Given, List, Listed, Release, Released, Request, Slot};
use slots::{How, Slots};
use text::{Text, Word};

/// What a client tells its model of this server.
const INSTRUCTIONS: &str = "Short-lived credentials for what you run. Ask for one when a task needs it, use it where it was \
    put, and release it when you are done. You are never shown a value, and need none: do not read or print the files and \
    variables; let programs take them from there. Each request is written to an audit trail with the purpose you state.";

/// How a server puts credentials.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder for files, where the system's own places in memory will not do.
    pub file_dir: Option<PathBuf>,
    /// The launcher's socket, from which commands get their variables.
    pub socket: PathBuf,
    /// The program that runs commands with variables: this one.
    pub program: PathBuf,
    /// A proxy, where there is one.
    pub proxy: Option<Proxied>,
}

/// A proxy that puts credentials into requests.
#[derive(Clone, Debug)]
pub struct Proxied {
    /// What it asks from: another wallet than the server's, so that what its rules name is had in requests alone.
    pub wallet: Wallet,
    /// What its rules ask for.
    pub wants: Vec<Want>,
    /// A file with the variables that lead to it, as a shell reads them.
    pub file: PathBuf,
}

/// Serves one client over standard input and output, until it goes. The wallet is the caller's to close.
///
/// # Errors
/// [`Fault::Local`] where no client speaks the protocol.
pub async fn serve(wallet: Wallet, options: Options) -> Result<(), Fault> {
    let slots = Slots::new(wallet.clone(), options.file_dir.clone());
    let proxied = options.proxy.as_ref().map(|proxy| Slots::new(proxy.wallet.clone(), None));
    let server = Server { wallet, slots: slots.clone(), proxied: proxied.clone(), options: Arc::new(options) };
    let served = match serve_server(server, rmcp::transport::stdio()).await {
        Ok(running) => running.waiting().await.map(drop).map_err(Fault::local),
        // A client that goes before it has said anything wanted nothing.
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(why) => {
            Err(Fault::Local(format!("no client of the Model Context Protocol speaks on standard input: {why}")))
        }
    };
    slots.clear();
    proxied.iter().for_each(Slots::clear);
    served
}

#[derive(Clone, Debug)]
struct Server {
    wallet: Wallet,
    slots: Slots,
    proxied: Option<Slots>,
    options: Arc<Options>,
}

/// What a tool says where it could not do what was asked.
struct Refused(Text);

impl Refused {
    fn say(parts: &[&dyn text::Open]) -> Refused {
        Refused(Text::of(parts))
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        Refused::say(&[&fault])
    }
}

/// An answer: for programs as an object, for a model in words.
fn answer(value: &impl Serialize, words: &Text) -> Result<CallToolResult, Refused> {
    let value = serde_json::to_value(value).map_err(|_| Refused::say(&[&"the answer cannot be written"]))?;
    let mut result = CallToolResult::success(vec![ContentBlock::text(words.as_str())]);
    result.structured_content = Some(value);
    Ok(result)
}

fn arguments<T: serde::de::DeserializeOwned>(given: Option<Map<String, Value>>) -> Result<T, Refused> {
    form::read(given).map_err(|why| {
        let why = why.to_string();
        Refused::say(&[&"the arguments are not those that this tool takes: ", &Word::of_caller(&why)])
    })
}

impl Server {
    async fn call(&self, request: CallToolRequestParams) -> Result<CallToolResult, Refused> {
        match &*request.name {
            "list_credentials" => self.list(arguments::<List>(request.arguments)?).await,
            "request_credential" => self.request(arguments(request.arguments)?).await,
            "release_credential" => self.release(arguments(request.arguments)?).await,
            other => Err(Refused::say(&[&"there is no tool ", &Word::of_caller(other)])),
        }
    }

    async fn list(&self, List {}: List) -> Result<CallToolResult, Refused> {
        let owner = self.wallet.owner();
        let roles = match self.wallet.roles() {
            Roles::Any => None,
            Roles::Only(roles) => Some(roles.iter().cloned().collect::<Vec<_>>()),
        };
        let mut held = self.slots.list().await;
        let (mut deliver, mut proxy_roles) = (vec![Slot::File, Slot::Env], Vec::new());
        if let (Some(slots), Some(proxy)) = (&self.proxied, &self.options.proxy) {
            held.extend(slots.list().await);
            deliver.push(Slot::Proxy);
            proxy_roles.extend(proxy.wants.iter().map(|want| want.role.clone()));
            proxy_roles.dedup();
        }
        let note = words::list(owner, roles.as_deref(), &proxy_roles, &held);
        let (agent, vault) = (owner.identity.name.clone(), owner.card.name.clone());
        answer(&Listed { agent, vault, roles, proxy_roles, deliver, held, note: note.clone() }, &note)
    }

    async fn request(&self, request: Request) -> Result<CallToolResult, Refused> {
        let how = self.how(&request)?;
        let want = want(request)?;
        let (slots, wallet, want) = self.place_for(&how, want)?;
        let held = wallet.hold(&want).await;
        let held = held.map_err(|fault| Refused(words::refused(self.wallet.owner(), &want.role, &fault)))?;
        let placed = slots.put(&want, &held, how.clone())?;
        let credential = slots.list().await.into_iter().find(|credential| credential.lease == *held.lease());
        let mut credential = credential.ok_or(Refused::say(&[&"it was given back meanwhile; ask again"]))?;
        credential.placed.clone_from(&placed);
        let use_it = words::how(&self.options, &want, held.secret.kind(), &how, &placed);
        let words = Text::of(&[&"Held: ", &words::of(&credential), &"\n", &use_it]);
        answer(&Given { credential, how: use_it }, &words)
    }

    /// Out of which wallet it comes, and as what it is asked for: the proxy's rule knows better what goes into requests.
    fn place_for(&self, how: &How, want: Want) -> Result<(&Slots, &Wallet, Want), Refused> {
        let rule = |proxy: &Proxied| proxy.wants.iter().find(|rule| rule.role == want.role).cloned();
        let rule = self.options.proxy.as_ref().and_then(rule);
        match (how, &self.proxied, &self.options.proxy) {
            (How::Proxy(_), Some(slots), Some(proxy)) => match rule {
                Some(rule) => Ok((slots, &proxy.wallet, Want { purpose: want.purpose, ..rule })),
                None => Err(Refused::say(&[&"the proxy of this server has no rule for ", &want.role])),
            },
            _ if rule.is_some() && !self.wallet.roles().allows(&want.role) => {
                Err(Refused::say(&[&want.role, &" is given to the proxy alone: ask with deliver proxy"]))
            }
            _ => Ok((&self.slots, &self.wallet, want)),
        }
    }

    /// How the caller wants it to be put.
    fn how(&self, request: &Request) -> Result<How, Refused> {
        match (request.deliver, &request.variable) {
            (Slot::File, None) => Ok(How::File(request.member.clone())),
            (Slot::Env, Some(name)) => {
                let variable = name.parse().map_err(|_| {
                    let name = Word::of_caller(name);
                    Refused::say(&[&name, &" is no variable's name: letters, digits and _, not a digit first"])
                })?;
                Ok(How::Env(variable, request.member.clone()))
            }
            (Slot::Env, None) => Err(Refused::say(&[&"deliver env needs a variable, for example DATABASE_URL"])),
            (Slot::Proxy, None) if request.member.is_none() && request.params.is_empty() => match &self.options.proxy {
                Some(proxy) => Ok(How::Proxy(proxy.file.clone())),
                None => Err(Refused::say(&[&"this server has no proxy; ask for a file or a variable"])),
            },
            (Slot::Proxy, None) => {
                Err(Refused::say(&[&"the proxy's rules say what it asks for; leave member and params out"]))
            }
            (Slot::File | Slot::Proxy, Some(_)) => {
                Err(Refused::say(&[&"a variable goes with deliver env alone; leave it out"]))
            }
        }
    }

    async fn release(&self, Release { role }: Release) -> Result<CallToolResult, Refused> {
        let mut leases = 0;
        for slots in std::iter::once(&self.slots).chain(&self.proxied) {
            leases += slots.release(&role).await.map_err(|fault| {
                Refused::say(&[
                    &"its files are gone, but the vault did not take it back: ",
                    &fault,
                    &"; it ends by itself when its time is over, or with this session",
                ])
            })?;
        }
        let words = match leases {
            0 => Text::of(&[&"Nothing was held of ", &role, &"."]),
            _ => Text::of(&[&"Given back: ", &role, &". Its files are gone."]),
        };
        answer(&Released { role, leases }, &words)
    }
}

fn want(request: Request) -> Result<Want, Refused> {
    let Request { role, purpose, params, ttl_seconds, .. } = request;
    if purpose.trim().is_empty() {
        return Err(Refused::say(&[&"say in purpose what it is for: people who read the trail want to know"]));
    }
    let purpose = Purpose::try_from(purpose).map_err(|why| Refused::say(&[&"purpose: ", &why]))?;
    Ok(Want { role, params, ttl: Seconds(ttl_seconds.unwrap_or(0)), purpose })
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let mut about = Implementation::new("nockvault", env!("CARGO_PKG_VERSION"));
        about.title = Some("NockVault credentials".to_owned());
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(about)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(form::tools()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        // What went wrong is for the model to read and act on, and so no error of the protocol.
        let result = self.call(request).await;
        Ok(result
            .unwrap_or_else(|Refused(words)| CallToolResult::error(vec![ContentBlock::text(words.as_str())]))
            .into())
    }
}
