"""The maker: learns from scans and makes synthetic ones."""
