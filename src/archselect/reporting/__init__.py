"""Reports over finished runs: tables, a page, dashboards."""
