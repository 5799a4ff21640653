pub mod model;
pub mod rehearsal;
