"""The failover core. The public names are resolved when first used, so that importing the package stays light."""
