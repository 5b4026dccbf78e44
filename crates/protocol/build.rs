//! Compiles `proto/` to Rust with protox, so that no protoc is needed.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    let files = [
        "bonghwa/v1/catalog.proto",
        "bonghwa/v1/compaction.proto",
        "bonghwa/v1/tenants.proto",
        "bonghwa/v1/replicas.proto",
        "bonghwa/v1/meta.proto",
        "bonghwa/v1/ingester.proto",
        "bonghwa/v1/peer.proto",
        "bonghwa/v1/query.proto",
        "bonghwa/v1/range.proto",
        "bonghwa/v1/graph.proto",
    ];
    println!("cargo:rerun-if-changed={root}");
    let descriptors = protox::compile(files, [root])?;
    // What operators set stands in files and bodies of requests as well.
    let by_operators = "#[derive(serde::Serialize, serde::Deserialize)] #[serde(default, deny_unknown_fields)]";
    tonic_prost_build::configure()
        .bytes(".")
        .type_attribute("bonghwa.v1.TenantRates", by_operators)
        .compile_fds(descriptors)?;
    Ok(())
}
