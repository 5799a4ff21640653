pub mod blocking;
pub mod model;
pub mod select;
pub mod store;
