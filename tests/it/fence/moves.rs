//! Devices that move and devices that come: writes know it at once, reads within the age of what the proxy knows.

use super::{Asker, Stand};
use crate::harness::eventually;

impl Stand {
    fn move_device(&self, device: u32, organization: u32) {
        let order = format!("/sandbox/move?device={device}&organization={organization}");
        assert_eq!(self.sandbox("POST", &order).status, 204);
    }
}

const CUSTOM_FIELDS: &str = "{\"assetNote1\":\"changed\"}";

#[test]
fn a_device_that_moved_out_is_changed_no_more_and_shown_no_more() {
    let stand = Stand::new();
    let write = || stand.send(Asker::Wide, "PATCH", "/v2/device/7/custom-fields", CUSTOM_FIELDS).status;
    assert_eq!((stand.get(Asker::Wide, "/v2/device/7").status, write()), (200, 204));
    stand.move_device(7, 2);
    assert_eq!(write(), 404);
    // The answer itself tells.
    assert_eq!(stand.get(Asker::Wide, "/v2/device/7").status, 404);
    let devices = stand.get(Asker::Wide, "/v2/devices").json();
    assert!(devices.as_array().expect("rows").iter().all(|device| device["id"] != 7));
    assert_eq!(stand.changed().len(), 1);
}

#[test]
fn a_device_that_moved_in_is_changed_at_once() {
    let stand = Stand::new();
    let write = || stand.send(Asker::Wide, "PATCH", "/v2/device/8/custom-fields", CUSTOM_FIELDS).status;
    assert_eq!(write(), 404);
    stand.move_device(8, 1);
    assert_eq!(write(), 204);
    assert_eq!(stand.changed(), [("PATCH /v2/device/{id}/custom-fields".to_owned(), vec![1])]);
}

#[test]
fn a_device_that_moved_in_and_a_new_one_are_shown_within_the_age() {
    let stand = Stand::with_age("1s");
    let status = |path: &str| stand.get(Asker::Wide, path).status;
    assert_eq!((status("/v2/device/8/disks"), status("/v2/device/61/disks")), (404, 404));
    stand.move_device(8, 1);
    stand.move_device(61, 3);
    eventually("the devices are shown", || status("/v2/device/8/disks") == 200 && status("/v2/device/61/disks") == 200);
    stand.move_device(8, 4);
    eventually("the device is shown no more", || status("/v2/device/8/disks") == 404);
}
