"""The statements that write results (results.py), each for all results at once.

Rows with many columns are passed as JSON: psycopg would take longer to make arrays of them than PostgreSQL takes to
execute the statement.
"""

LOCK = """
SELECT FROM unnest(%(tenants)s::uuid[], %(webhooks)s::uuid[], %(subjects)s::text[]) AS told (tenant, webhook, subject)
  JOIN webhook_queues AS queues
    ON queues.tenant_id = told.tenant AND queues.webhook_id = told.webhook AND queues.subject = told.subject
 ORDER BY queues.tenant_id, queues.webhook_id, queues.subject
   FOR UPDATE OF queues
"""
# A delivery that was cancelled in the meantime stays cancelled, unless it was delivered.
DELIVERIES = """
UPDATE webhook_deliveries AS deliveries
   SET status = CASE WHEN wins THEN told.status ELSE deliveries.status END,
       attempts = greatest(deliveries.attempts, told.attempts), last_status_code = told.code, last_error = told.fault,
       next_attempt_time = CASE WHEN wins THEN told.again END,
       finish_time = CASE WHEN wins THEN told.finished ELSE deliveries.finish_time END
  FROM (SELECT told.*, found.status = 1 OR told.status = 2 AS wins
          FROM json_to_recordset(%(deliveries)s)
               AS told (tenant uuid, id uuid, status smallint, attempts int, code int, fault text, again timestamptz,
                        finished timestamptz)
          JOIN webhook_deliveries AS found ON found.tenant_id = told.tenant AND found.id = told.id
           FOR UPDATE OF found) AS told
 WHERE deliveries.tenant_id = told.tenant AND deliveries.id = told.id
"""
ATTEMPTS = """
INSERT INTO webhook_attempts (tenant_id, delivery_id, number, create_time, duration_ms, status_code, error,
                              request_headers, request_body, response_headers, response_body)
SELECT told.*
  FROM json_to_recordset(%(attempts)s)
       AS told (tenant uuid, id uuid, number int, create_time timestamptz, duration_ms int, status_code int, error text,
                request_headers jsonb, request_body text, response_headers jsonb, response_body text)
 WHERE EXISTS (SELECT FROM webhook_deliveries AS found WHERE found.tenant_id = told.tenant AND found.id = told.id)
"""
# Only a worker that still holds the lease may change the queue.
REMOVE = """
DELETE FROM webhook_queues AS queues
 USING unnest(%(tenants)s::uuid[], %(webhooks)s::uuid[], %(subjects)s::text[], %(leases)s::timestamptz[],
              %(again)s::timestamptz[]) AS told (tenant, webhook, subject, lease, again)
 WHERE queues.tenant_id = told.tenant AND queues.webhook_id = told.webhook AND queues.subject = told.subject
   AND queues.lease_time = told.lease AND told.again IS NULL AND (
    SELECT id FROM webhook_deliveries AS deliveries
     WHERE deliveries.tenant_id = told.tenant AND deliveries.webhook_id = told.webhook
       AND deliveries.subject = told.subject AND deliveries.status = 1 LIMIT 1) IS NULL
"""
RELEASE = """
UPDATE webhook_queues AS queues SET lease_time = NULL, next_attempt_time = coalesce(told.again, %(now)s)
  FROM unnest(%(tenants)s::uuid[], %(webhooks)s::uuid[], %(subjects)s::text[], %(leases)s::timestamptz[],
              %(again)s::timestamptz[]) AS told (tenant, webhook, subject, lease, again)
 WHERE queues.tenant_id = told.tenant AND queues.webhook_id = told.webhook AND queues.subject = told.subject
   AND queues.lease_time = told.lease
"""
RENEW = """
UPDATE webhook_queues AS queues SET lease_time = %(lease)s
  FROM (SELECT queues.* FROM unnest(%(tenants)s::uuid[], %(webhooks)s::uuid[], %(subjects)s::text[],
                                    %(leases)s::timestamptz[]) AS told (tenant, webhook, subject, lease)
          JOIN webhook_queues AS queues
            ON queues.tenant_id = told.tenant AND queues.webhook_id = told.webhook AND queues.subject = told.subject
           AND queues.lease_time = told.lease
         ORDER BY queues.tenant_id, queues.webhook_id, queues.subject
           FOR UPDATE OF queues) AS held
 WHERE queues.tenant_id = held.tenant_id AND queues.webhook_id = held.webhook_id AND queues.subject = held.subject
RETURNING queues.tenant_id::text, queues.webhook_id::text, queues.subject
"""
