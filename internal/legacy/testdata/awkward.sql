-- More rows of the awkward kind, for a database made of legacy.sql. Ids that end in X can't come over.
INSERT INTO "User" ("id","email","password","name","createdAt","updatedAt","failedLoginAttempts","accountLockedUntil","lastLoginAt") VALUES
  ('user-empty','nobody.yet@example.com','$2b$12$T22yvYhpu0doAXjwef9l6OdSGDtBpvT5XdkP.0F.HLbEgzJj1Z29S','','2024-02-29 23:59:59.999','2024-02-29 23:59:59.999',0,NULL,NULL),
  ('user-script','שלום+🎉@example.com','$2b$12$T22yvYhpu0doAXjwef9l6OdSGDtBpvT5XdkP.0F.HLbEgzJj1Z29S','שלום 👩‍👩‍👧','2024-01-01','2024-01-01',3,NULL,'2025-11-30 08:00:00'),
  ('user-locked','locked@example.com','$2b$12$T22yvYhpu0doAXjwef9l6OdSGDtBpvT5XdkP.0F.HLbEgzJj1Z29S','locked','2024-01-01','2024-01-01',5,'9000-01-01',NULL),
  ('user-hash','other.hash@example.com','plain text','hash','2024-01-01','2024-01-01',0,NULL,NULL),
  ('user-many','many@example.com','$2a$10$T22yvYhpu0doAXjwef9l6OdSGDtBpvT5XdkP.0F.HLbEgzJj1Z29S','many','2024-01-01','2024-01-01',0,NULL,NULL),
  ('user-forever-X','forever@example.com','x','forever','2024-01-01','infinity',0,NULL,NULL),
  ('user-no-address-X','','x','nameless','2024-01-01','2024-01-01',0,NULL,NULL),
  ('user-strasse-1-X','strasse@example.com','x','strasse','2024-01-01','2024-01-01',0,NULL,'2025-01-01'),
  ('user-strasse-2','STRASSE@example.com','x','STRASSE','2024-01-02','2024-01-01',0,NULL,'2025-01-02'),
  ('user-strasse-3-X','straße@example.com','x','straße','2024-01-03','2024-01-01',0,NULL,NULL);
INSERT INTO "Note" ("id","title","content","tags","color","isPinned","isFavorite","isArchived","isMarkdown","isTrashed","trashedAt","userId","createdAt","updatedAt") VALUES
  ('note-tags','Tags','','{"","a,b","\"quoted\"","it''s","back\\slash","{braces}","NULL"," spaces ","🎉",שלום}','',true,true,false,true,false,NULL,'user-script','2024-01-01','2024-01-01'),
  ('note-null-tag','A tag that is null','','{a,NULL,b}',NULL,false,false,false,false,false,NULL,'user-script','2024-01-01','2024-01-01'),
  ('note-table-of-tags','Tags in two dimensions','','{{a,b},{c,d}}',NULL,false,false,false,false,false,NULL,'user-script','2024-01-01','2024-01-01'),
  ('note-most-tags','As many and as long as may be','',array_fill(repeat('🎉',64),ARRAY[50]),repeat('c',20),false,false,false,false,false,NULL,'user-script','2024-01-01','2024-01-01'),
  ('note-text',E'Zu\u0308rich \u202Eabc\u202C',E'\r\n\ttabs, \u0001, \uFFFF, \U0010FFFF, 👩‍👩‍👧 and "quotes" \\ ''',DEFAULT,NULL,false,false,true,false,false,NULL,'user-script','2024-01-01','2024-01-01'),
  ('note-untitled','','',DEFAULT,NULL,false,false,false,false,false,NULL,'user-script','2024-01-01','2023-01-01'),
  ('note-first-day','First','',DEFAULT,NULL,false,false,false,false,false,NULL,'user-script','0001-01-01','0001-01-01'),
  ('note-last-day','Last','',DEFAULT,NULL,false,false,false,false,false,NULL,'user-script','9999-12-31 23:59:59.999','9999-12-31 23:59:59.999'),
  ('note-in-trash','In the trash','',DEFAULT,NULL,true,true,true,false,true,'1970-01-01','user-script','1969-12-31 23:59:59.999','2024-01-01'),
  ('note.with/odd ?id#','Odd id','',DEFAULT,NULL,false,false,false,false,false,NULL,'user-script','2024-01-01','2024-01-01'),
  ('note-too-many-tags-X','Too many tags','',array_fill('t'::text,ARRAY[51]),NULL,false,false,false,false,false,NULL,'user-script','2024-01-01','2024-01-01'),
  ('note-long-tag-X','A tag too long','',ARRAY[repeat('é',65)],NULL,false,false,false,false,false,NULL,'user-script','2024-01-01','2024-01-01'),
  ('note-after-all-X','After the last year','',DEFAULT,NULL,false,false,false,false,false,NULL,'user-script','2024-01-01','10000-01-01'),
  ('note-before-all-X','Before the first year','',DEFAULT,NULL,false,false,false,false,false,NULL,'user-script','0001-12-31 BC','2024-01-01'),
  ('note-forever-X','Trashed for ever','',DEFAULT,NULL,false,false,false,false,true,'infinity','user-script','2024-01-01','2024-01-01'),
  ('','No id','',DEFAULT,NULL,false,false,false,false,false,NULL,'user-script','2024-01-01','2024-01-01'),
  ('note-of-strasse-X','Left out with its account','',DEFAULT,NULL,false,false,false,false,false,NULL,'user-strasse-1-X','2024-01-01','2024-01-01');
INSERT INTO "Note" ("id","title","content","tags","userId","createdAt","updatedAt")
  SELECT 'note-many-'||n, 'Note '||n, repeat('Ä word ', n % 300), ARRAY['t'||n % 7, 'T'||n % 5], 'user-many', '2024-01-01', '2024-01-01'
  FROM generate_series(1, 1000) AS n;
