"""All that is known of Slack: its markup, messages, errors and transports. The SDK is imported here and
nowhere else."""
