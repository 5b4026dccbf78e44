//! The Helm chart and `deploy/`: what they render is what Kubernetes, the binary and the
//! procedures in their READMEs take.

mod api;
mod configuration;
mod deploy;
mod drain;
mod manifests;
mod network;
mod render;
mod upgrade;
mod values;
