"""Rules and routing; brain MR, abdominal CT: volume in, findings out; preprocessing that training shares."""
