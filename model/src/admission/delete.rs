//! Deleting resources, and what goes with them.

use super::{Admission, Admitted, Precondition, Rejection};
use crate::resource::Owner;
use crate::spec::ZoneInsight;
use crate::transaction::{Check, Operation};
use crate::{Key, Kind};

impl Admission<'_> {
    /// Whether a resource may be deleted here, and the transaction that does it.
    pub fn delete(
        &self,
        key: &Key,
        precondition: Option<Precondition>,
    ) -> Result<Admitted, Rejection> {
        self.place.takes(key.kind())?;
        self.meets(key, precondition)?;
        if self.snapshot.get(key).is_none() {
            return Err(Rejection::NotFound(key.clone()));
        }
        self.own(key)?;
        let mut transaction = self.transaction(precondition.map(|p| (key, p)));
        match key.kind() {
            Kind::Mesh => {
                let (check, operation) = self.delete_mesh(key)?;
                transaction.checks.push(check);
                transaction.operations.push(operation);
            }
            Kind::Zone => {
                let insight = Key::new(Kind::ZoneInsight, "", key.name());
                self.zone_is_gone(key, &insight)?;
                transaction.checks.push(self.as_seen(&insight));
                transaction.operations.extend([key.clone(), insight].map(Operation::Delete));
            }
            Kind::Dataplane => {
                let insight = Key::new(Kind::DataplaneInsight, key.mesh(), key.name());
                transaction.operations.extend([key.clone(), insight].map(Operation::Delete));
            }
            _ => transaction.operations.push(Operation::Delete(key.clone())),
        }
        Ok(Admitted {
            transaction: Some(transaction),
            created: false,
            warnings: Vec::new(),
            needs: Vec::new(),
        })
    }

    fn delete_mesh(&self, key: &Key) -> Result<(Check, Operation), Rejection> {
        if self.snapshot.in_mesh(Kind::Dataplane, key.name()).next().is_some() {
            let reason = "unable to delete mesh, there are still some dataplanes attached";
            return Err(Rejection::invalid("mesh", reason));
        }
        let empty = Check::Empty { kind: Kind::Dataplane, mesh: key.name().into() };
        Ok((empty, Operation::DeleteMesh(key.name().into())))
    }

    fn zone_is_gone(&self, zone: &Key, insight: &Key) -> Result<(), Rejection> {
        let insight = self.snapshot.get(insight);
        let online = insight.and_then(|insight| insight.decode::<ZoneInsight>().ok());
        if online.is_some_and(|insight| insight.is_online()) {
            let reason =
                "unable to delete Zone, Zone CP is still connected, please shut it down first";
            return Err(Rejection::invalid("zone", reason));
        }
        let owner = Owner::zone(zone.name());
        let owned = self.snapshot.iter().filter(|resource| resource.owner == owner).count();
        if owned > 0 {
            let reason = format!(
                "{owned} resources of this zone are still here; this version of Higuma cannot \
                 remove them with their zone yet"
            );
            return Err(Rejection::invalid("zone", reason));
        }
        Ok(())
    }
}
