//! `vault-agent kube`: an exec plugin of Kubernetes' clients.

use std::process::ExitCode;

use clap::Args;
use nockvault::id::RoleName;
use nockvault::launcher::adapters::kube::Caller;

use crate::source::{Terms, give, source};
use crate::who::Who;

/// Answer kubectl and client-go as their exec plugin
///
/// In the kubeconfig, for a user:
///
/// exec:
///   apiVersion: client.authentication.k8s.io/v1
///   command: vault-agent
///   args: [kube, k8s-deploy]
///   interactiveMode: Never
///
/// A secret of the engine x509 is given as client certificate, any other as token.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Kube {
    /// The role.
    role: RoleName,
    /// Answer only who is about to call this server, as its kubeconfig writes it; provideClusterInfo: true makes the
    /// client say so.
    #[arg(long = "server", value_name = "URL")]
    servers: Vec<String>,
    /// The member of the secret that is the token, where it is not the usual one.
    #[arg(long, value_name = "NAME")]
    member: Option<String>,
    #[command(flatten)]
    terms: Terms,
}

impl Kube {
    pub(crate) async fn run(&self, who: &Who) -> anyhow::Result<ExitCode> {
        let info = std::env::var("KUBERNETES_EXEC_INFO").ok();
        let caller = Caller::read(info.as_deref(), &self.servers)?;
        let given = source(who)?.ask(&self.terms.want(self.role.clone(), "kubernetes")).await?;
        give(&caller.answer(&given, self.member.as_deref())?)?;
        Ok(ExitCode::SUCCESS)
    }
}
