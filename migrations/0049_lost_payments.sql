-- Who lets runs be made and takes the money away is not served for a while.
CREATE INDEX payments_lost ON payments (tenant_id, lower(payer), moved_at) WHERE state = 'lost';
