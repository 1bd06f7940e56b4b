"""How other systems and people file tickets: every sender's shape becomes one ``TicketRequest`` at one desk."""
