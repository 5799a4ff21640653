pub mod blocking;
pub mod cut;
pub mod model;
pub mod select;
pub mod store;
