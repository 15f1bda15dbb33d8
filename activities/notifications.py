"""One message to people by the worker's webhook."""

from activities.step import Steps, step
from kafka_runbooks.models.notification import Delivery, Notification


class NotificationActivities(Steps):
    """The step of `Notify`."""

    @step
    def post_notification(self, message: Notification) -> Delivery:
        """Send it, if this worker has a webhook."""
        if self._access.webhook is None:
            return Delivery(is_delivered=False, note="this worker has no webhook")
        self._access.webhook.post(message)
        return Delivery(is_delivered=True)
