//! A service's operations as gRPC services and as what REST calls.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use stonechat_errors::Error;

use crate::Fields;

/// A request out of the fields of its message.
pub fn parse<T: DeserializeOwned>(fields: Fields) -> Result<T, Error> {
    serde_json::from_value(Value::Object(fields)).map_err(|e| Error::invalid(e.to_string()))
}

/// An answer as JSON.
pub fn write(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "answer could not be written");
        Error::internal()
    })
}

/// Serves the methods of a type as gRPC services and to REST.
///
/// ```ignore
/// stonechat_operations::serve! {
///     Service, OPERATIONS;
///     tenant_service_server::TenantService {
///         create_tenant: CreateTenantRequest => Tenant;
///     }
/// }
/// ```
///
/// declares `Served`, made of an `Arc<Service>` and an `Arc<Gate>`, which is the gRPC services (wrap it in the
/// generated servers) and a [`Backend`](crate::Backend) for [`routes`](crate::routes). The methods are
/// `async fn create_tenant(&self, caller: &Caller, request: CreateTenantRequest) -> Result<Tenant, Error>`. RPCs that
/// stream are written by hand; their services are not for this macro.
#[macro_export]
macro_rules! serve {
    ($type:ty, $operations:expr; $($module:ident :: $service:ident {
        $($method:ident: $request:ident => $response:ident;)*
    })*) => {
        /// The service in its gRPC form, and what REST calls.
        #[derive(Clone)]
        pub(crate) struct Served {
            service: ::std::sync::Arc<$type>,
            gate: ::std::sync::Arc<$crate::Gate>,
        }

        impl Served {
            pub(crate) fn new(service: ::std::sync::Arc<$type>, gate: ::std::sync::Arc<$crate::Gate>) -> Self {
                Self { service, gate }
            }
        }

        $(
            #[$crate::reexport::async_trait]
            impl $crate::reexport::v1::$module::$service for Served {
                $(
                    async fn $method(
                        &self,
                        request: $crate::reexport::tonic::Request<$crate::reexport::v1::$request>,
                    ) -> Result<
                        $crate::reexport::tonic::Response<$crate::reexport::v1::$response>,
                        $crate::reexport::tonic::Status,
                    > {
                        let operation = $crate::find($operations, stringify!($service), stringify!($method));
                        let service = ::std::sync::Arc::clone(&self.service);
                        let run = move |caller: $crate::Caller, request| {
                            let run = async move { service.$method(&caller, request).await };
                            Box::pin(run) as ::std::pin::Pin<Box<dyn Future<Output = _> + Send>>
                        };
                        self.gate.grpc(operation, request, run).await
                    }
                )*
            }
        )*

        #[$crate::reexport::async_trait]
        impl $crate::Backend for Served {
            async fn call(&self, call: $crate::Call) -> Result<Vec<u8>, $crate::reexport::Error> {
                let (caller, fields) = (call.caller, call.fields);
                $($(
                    if call.operation.service == stringify!($service)
                        && $crate::is_same_method(call.operation, stringify!($method))
                    {
                        let request = $crate::parse(fields)?;
                        let answer = Box::pin(self.service.$method(&caller, request)).await?;
                        return $crate::write(&answer);
                    }
                )*)*
                Err($crate::reexport::Error::internal())
            }
        }

        #[cfg(test)]
        impl Served {
            /// Whether the example of an operation is one: its request and its answer can be read, and the answer is
            /// written as it stands there.
            pub(crate) fn check(operation: &$crate::Operation) -> Result<(), String> {
                $($(
                    if operation.service == stringify!($service)
                        && $crate::is_same_method(operation, stringify!($method))
                    {
                        return $crate::check_example::<
                            $crate::reexport::v1::$request,
                            $crate::reexport::v1::$response,
                        >(operation);
                    }
                )*)*
                Err("no method serves it".to_owned())
            }
        }
    };
}
