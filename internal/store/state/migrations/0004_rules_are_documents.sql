-- So they change in one transaction with what else is declared.
INSERT INTO document (tenant, kind, name, body) SELECT tenant, 'rule', name, body FROM rule;
DROP TABLE rule;
