//! What must hold, one rule a file. Each looks from outside, and tells the world of a violation.

pub mod catalog_and_objects;
pub mod exactly_once;
pub mod logs_agree;
pub mod metas_agree;
pub mod serving;
