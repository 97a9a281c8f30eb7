"""The engines that come with the plugin."""
